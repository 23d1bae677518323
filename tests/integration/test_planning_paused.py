"""Pauses of the queue: each holds back its scope, is told with its reason, and is at rest once runs end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from infra.ledger import runs
from policy.errors import Busy, Refused
from policy.names import SiteId
from policy.pause import ALL
from policy.request import Status
from tasks.pause_queue import at_rest, pause_queue, resume_queue
from tasks.queue_view import queue_view
from tests.integration.request_worlds import DANA, ENGINEER, NOW, SANDBOX, RequestWorld

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        (ALL, {"lakeside", "harbor"}),
        ("customer:lakeside", {"lakeside"}),
        ("group:coastal", {"harbor"}),
        ("server:trial", {"lakeside", "harbor"}),
        ("server:live", {"lakeside", "harbor"}),
    ],
)
def test_a_pause_holds_back_its_scope_and_is_shown(world: RequestWorld, scope: str, held: set[str]) -> None:
    numbers = {name: world.ask(SiteId.parse(f"{name}/sandbox")) for name in ("lakeside", "harbor")}
    pause_queue(world.world, world.principal(ENGINEER), scope, "Storage incident")
    world.plan_at(NOW)
    shown = {entry["id"]: entry for entry in queue_view(world.world)["waiting"]}
    for name, number in numbers.items():
        request = world.get(number)
        if name in held:
            assert request.status is Status.TO_BE_SCHEDULED
            assert "Storage incident" in request.reason
            assert "Storage incident" in shown[number]["paused"]
            assert "Storage incident" in shown[number]["waiting_because"]
        else:
            assert request.status is Status.SCHEDULED
            assert shown[number]["paused"] is None
    assert resume_queue(world.world, world.principal(ENGINEER), scope)
    world.plan_at(NOW)
    assert {world.get(number).status for number in numbers.values()} == {Status.SCHEDULED}


def test_a_pause_takes_the_date_of_what_would_begin_under_it_and_stops_the_start(world: RequestWorld) -> None:
    number = world.ask(SANDBOX, by=DANA)
    world.plan_at(NOW)
    pause_queue(world.world, world.principal(ENGINEER), ALL, "Storage incident")
    with pytest.raises(Busy, match="Storage incident"):
        world.begin(number)
    world.plan_at(NOW)
    request = world.get(number)
    assert (request.status, request.scheduled_for) == (Status.TO_BE_SCHEDULED, None)
    assert world.mails(number)[-1] == ("unscheduled", DANA)


def test_a_pause_with_an_end_moves_dates_to_its_end(world: RequestWorld) -> None:
    number = world.ask(SANDBOX, by=DANA)
    until = NOW + 2 * HOUR
    pause_queue(world.world, world.principal(ENGINEER), ALL, "Storage move", until=until)
    world.plan_at(NOW)
    assert world.get(number).scheduled_for == until
    assert [held["until"] for held in queue_view(world.world)["pauses"]] == ["2026-11-21T20:00:00Z"]
    world.clock.at = until
    assert queue_view(world.world)["pauses"] == []
    world.begin(number)


def test_pauses_are_events_with_a_reason_and_only_for_engineers(world: RequestWorld) -> None:
    who = world.principal(ENGINEER)
    for scope, reason, field in (
        ("all", " ", "reason"),
        ("server:nowhere", "x", "scope"),
        ("lakeside", "x", "scope"),
    ):
        with pytest.raises(Refused, match=f"^{field}: "):
            pause_queue(world.world, who, scope, reason)
    with pytest.raises(Refused, match="may not pause"):
        pause_queue(world.world, world.principal(DANA), "customer:lakeside", "Mine")
    assert world.rows("pause", "event") == {"pause": 0, "event": 0}
    pause_queue(world.world, who, "server:trial", "Storage incident")
    assert resume_queue(world.world, who, "server:trial")
    assert not resume_queue(world.world, who, "server:trial")
    with world.world.ledger.transaction() as connection:
        rows = connection.execute("select verb, actor, reason from event order by id").fetchall()
    assert [(row["verb"], row["reason"]) for row in rows] == [("pause", "Storage incident"), ("unpause", "")]
    assert {row["actor"] for row in rows} == {ENGINEER}


def test_a_pause_is_at_rest_when_what_ran_under_it_has_ended(world: RequestWorld) -> None:
    number = world.ask(SANDBOX, by=DANA)
    world.plan_at(NOW)
    run = world.begin(number)
    here = pause_queue(world.world, world.principal(ENGINEER), "server:trial", "Maintenance")
    elsewhere = pause_queue(world.world, world.principal(ENGINEER), "group:coastal", "Exams")
    assert not at_rest(world.world, here)
    assert at_rest(world.world, elsewhere)
    shown = {held["scope"]: held["at_rest"] for held in queue_view(world.world)["pauses"]}
    assert shown == {"server:trial": False, "group:coastal": True}
    with world.world.ledger.transaction() as connection:
        runs.end(connection, run, stuck=False, report="")
    assert at_rest(world.world, here)
