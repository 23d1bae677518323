"""Dates in the ledger: given, kept, moved with their reason, held back by pauses, and what the queue says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.ledger import runs
from infra.stack.cluster import Cluster
from policy.errors import Busy, Refused
from policy.journal import Finish
from policy.names import CustomerName, RequestId, SiteId, Version
from policy.pause import ALL
from policy.permissions import freshet
from policy.request import Outcome, Status
from policy.wish import Wish
from tasks import manage
from tasks.pause_queue import at_rest, pause_queue, resume_queue
from tasks.queue_view import place_of, queue_view
from tasks.submit import submit
from tests.integration.request_worlds import (
    DANA,
    ENGINEER,
    LIVE,
    NOW,
    SANDBOX,
    STAGING,
    SUNDAY_WINDOW,
    THURSDAY_WINDOW,
    WEEK,
    RequestWorld,
    request_world,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
QUARTER = 15 * MINUTE
NIGHT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
"""Sunday at 02:00 in Chicago."""


@pytest.fixture
def world(live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path) -> Iterator[RequestWorld]:
    with request_world(live_cluster, trial_cluster, tmp_path) as made:
        made.install("lakeside/live", "23.1.0")
        made.install("lakeside/staging", "24.1.1")
        yield made


def upgrade_of(world: RequestWorld, customer: str) -> RequestId:
    site = SiteId.parse(f"{customer}/production")
    wish = Wish(site=site, version=Version("26.5.0"), refresh=False)
    return submit(world.world, wish, freshet(ENGINEER)).request.id


def test_after_an_outage_nothing_starts_in_the_morning_that_belonged_to_the_night(
    world: RequestWorld,
) -> None:
    number = world.ask(SANDBOX, by=DANA, at=NIGHT)
    world.plan_at(NOW)
    morning = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
    world.clock.at = morning
    with pytest.raises(Busy, match="start-by"):
        world.begin(number)
    world.plan_at(morning)
    request = world.get(number)
    assert (request.status, request.scheduled_for) == (Status.SCHEDULED, NIGHT + DAY)
    assert request.start_by == NIGHT + DAY + 4 * HOUR
    assert "It could not begin by Sunday 22 November 2026, 06:00 CST" in request.reason
    assert world.mails(number)[-1] == ("moved", DANA)
    world.clock.at = NIGHT + DAY
    world.begin(number)
    assert world.get(number).status is Status.IN_PROGRESS


def test_after_an_outage_an_upgrade_moves_to_its_next_window_and_can_begin_there(world: RequestWorld) -> None:
    number = world.ask(LIVE, by=DANA, version="26.5.0")
    world.plan_at(NOW)
    first = world.get(number).start_by
    assert first is not None
    world.plan_at(first + MINUTE)
    request = world.get(number)
    assert request.scheduled_for == SUNDAY_WINDOW + WEEK
    assert request.start_by == first + WEEK
    assert "It could not begin by" in request.reason
    world.clock.at = SUNDAY_WINDOW + WEEK + MINUTE
    world.begin(number)


def test_within_its_start_by_a_late_request_still_begins_and_is_not_moved(world: RequestWorld) -> None:
    number = world.ask(LIVE, by=DANA, version="26.5.0")
    world.plan_at(NOW)
    late = SUNDAY_WINDOW + 2 * HOUR
    assert world.plan_at(late) == 0
    assert world.get(number).scheduled_for == SUNDAY_WINDOW
    world.begin(number)


def test_the_last_chance_gone_the_request_ends_as_expired(world: RequestWorld) -> None:
    number = world.ask(LIVE, by=DANA, version="26.5.0")
    world.plan_at(NOW)
    file = world.world.settings.estate
    text = file.read_text().replace(
        "valid_from: 2026-01-01\n  thursday-night",
        "valid_from: 2026-01-01\n    valid_until: 2026-11-22\n  thursday-night",
    )
    file.write_text(text)
    world.plan_at(NOW + MINUTE)
    assert world.get(number).scheduled_for == SUNDAY_WINDOW
    world.plan_at(SUNDAY_WINDOW + DAY)
    request = world.get(number)
    assert (request.status, request.outcome) == (Status.UNABLE_TO_COMPLETE, Outcome.EXPIRED)
    assert world.mails(number)[-1] == ("expired", DANA)
    file.write_text(text.replace("    valid_until: 2026-11-22\n", ""))
    assert manage.retry(world.world, number, DANA).status is Status.TO_BE_SCHEDULED
    world.plan_at(SUNDAY_WINDOW + DAY + MINUTE)
    assert world.get(number).scheduled_for == SUNDAY_WINDOW + WEEK


def test_a_changed_window_moves_the_date_and_a_freeze_is_named(world: RequestWorld) -> None:
    number = world.ask(LIVE, by=DANA, version="26.5.0")
    world.plan_at(NOW)
    file = world.world.settings.estate
    file.write_text(
        file.read_text().replace(
            "freezes:\n",
            "freezes:\n  audit:\n    zone: America/Chicago\n    first: 2026-11-21\n    last: 2026-11-27\n"
            "    reason: State audit\n    customers: [lakeside]\n",
        )
    )
    world.plan_at(NOW)
    request = world.get(number)
    assert request.scheduled_for == SUNDAY_WINDOW + WEEK
    assert "audit" in request.reason.lower()


def test_every_waiting_request_has_a_place_a_reason_and_an_eta(world: RequestWorld) -> None:
    running = world.ask(SANDBOX, by=DANA)
    world.plan_at(NOW)
    world.begin(running)
    behind = world.ask(SANDBOX, by=DANA)
    night = world.ask(STAGING, by=DANA, at=NIGHT)
    held = world.ask(LIVE, by=DANA, version="26.5.0")
    manage.defer(world.world, held, None, "Later")
    world.plan_at(NOW)
    shown = queue_view(world.world)
    assert [entry["id"] for entry in shown["running"]] == [running]
    waiting = {entry["id"]: entry for entry in shown["waiting"]}
    assert list(waiting) == [behind, night, held]
    for number in (behind, night):
        entry = waiting[number]
        assert entry["position"] >= 1
        assert entry["eta"] <= entry["done_from"] <= entry["done_by"]
        assert entry["waiting_because"]
    assert waiting[held]["eta"] is None
    assert waiting[held]["waiting_because"]
    assert waiting[behind]["status"] == "To Be Scheduled"
    assert waiting[behind]["reason"] == waiting[behind]["waiting_because"]
    assert place_of(world.world, behind) == {
        key: waiting[behind][key] for key in place_of(world.world, behind)
    }
    assert set(place_of(world.world, running).values()) == {None}


def test_who_only_waits_for_others_gets_a_date_when_the_turn_comes(world: RequestWorld) -> None:
    first = world.ask(SANDBOX, by=DANA)
    second = world.ask(STAGING, by=DANA)
    world.plan_at(NOW)
    # Both read Production's database, so the second waits; nobody is told a date that the first would change.
    assert world.get(second).status is Status.TO_BE_SCHEDULED
    assert [kind for kind, _ in world.mails(second)] == ["accepted"]
    world.carry_out(first, took=QUARTER)
    world.plan_at(world.clock.at)
    assert world.get(second).scheduled_for == world.clock.at


def test_no_more_begin_at_once_than_a_server_has_slots(world: RequestWorld) -> None:
    sites = [SANDBOX, *(SiteId.parse(f"{name}/sandbox") for name in ("harbor", "mesa"))]
    numbers = [world.ask(site) for site in sites]
    world.plan_at(NOW)
    with world.world.ledger.transaction() as connection:
        # As if all three had been announced for the same moment while the server had more slots.
        connection.execute(
            "update request set status = 'Scheduled', scheduled_for = %s where status = 'To Be Scheduled'",
            (NOW,),
        )
    begun = []
    for number in numbers:
        try:
            begun.append(world.begin(number))
        except Busy as busy:
            assert "waits for server" in str(busy)  # noqa: PT017 - the third of three
    assert len(begun) == 2
    assert world.get(numbers[2]).status is Status.SCHEDULED


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


def test_the_promise_is_kept_and_its_error_measured(world: RequestWorld) -> None:
    early, late = world.ask(SANDBOX, by=DANA), world.ask(SiteId.parse("mesa/sandbox"))
    world.plan_at(NOW)
    with world.world.ledger.transaction() as connection:
        told = {
            int(str(row["request"])): row
            for row in connection.execute("select request, low, high from eta").fetchall()
        }
    low = told[early.number]["low"]
    high = told[late.number]["high"]
    assert isinstance(low, datetime)
    assert isinstance(high, datetime)
    world.carry_out(early, took=low - NOW - MINUTE)
    world.clock.at = NOW
    world.carry_out(late, took=high - NOW + 9 * MINUTE)
    kept = queue_view(world.world)["eta_accuracy"]
    assert kept == {
        "promises": 2,
        "median_error_min": 5.0,
        "p90_error_min": pytest.approx(8.2),
        "kept_percent": 0.0,
    }


def test_a_promise_that_freshet_itself_moved_counts_as_it_was_first_told(world: RequestWorld) -> None:
    number = world.ask(SANDBOX, by=DANA, at=NIGHT)
    world.plan_at(NOW)
    world.plan_at(NIGHT + 5 * HOUR)
    world.clock.at = NIGHT + DAY
    world.carry_out(number, took=5 * MINUTE)
    with world.world.ledger.transaction() as connection:
        row = connection.execute("select moves, start, error_s from eta").fetchone()
    assert row is not None
    assert (row["moves"], row["start"]) == (1, NIGHT)
    assert isinstance(row["error_s"], float)
    assert timedelta(seconds=row["error_s"]) > timedelta(hours=23)


def test_a_promise_that_a_person_moved_counts_anew_and_a_failure_not_at_all(world: RequestWorld) -> None:
    number = world.ask(SANDBOX, by=DANA, at=NIGHT)
    world.plan_at(NOW)
    manage.defer(world.world, number, None, "Later")
    manage.resume(world.world, number, None)
    world.plan_at(NIGHT + DAY)
    world.carry_out(number, Finish.PUT_BACK, took=5 * MINUTE)
    assert queue_view(world.world)["eta_accuracy"]["promises"] == 0
    with world.world.ledger.transaction() as connection:
        assert connection.execute("select moves, start from eta").fetchall() == [
            {"moves": 0, "start": NIGHT + DAY}
        ]


def test_planning_again_changes_nothing_and_writes_to_nobody(world: RequestWorld) -> None:
    for site in ("lakeside/sandbox", "lakeside/staging", "harbor/sandbox", "ridge/staging"):
        world.ask(SiteId.parse(site), at=NIGHT)
    upgrades = [upgrade_of(world, name) for name in ("harbor", "cove", "ridge")]
    world.plan_at(NOW)
    before = [world.get(number) for number in upgrades]
    assert [request.scheduled_for for request in before if request.site.customer != CustomerName("ridge")]
    counted = world.rows("event", "outbox")
    for minutes in range(1, 60, 7):
        world.plan_at(NOW + minutes * MINUTE)
    assert world.rows("event", "outbox") == counted
    assert [world.get(number) for number in upgrades] == before
    assert before[0].scheduled_for == THURSDAY_WINDOW


def test_nothing_is_planned_anew_while_nothing_changes(world: RequestWorld) -> None:
    number = world.ask(SANDBOX, by=DANA, at=NIGHT)
    world.plan_at(NOW)
    world.plan_at(NOW)
    with world.world.ledger.transaction() as connection:
        connection.execute("update request set reason = 'untouched' where number = %s", (number.number,))
    world.plan_at(NOW + timedelta(seconds=0))
    assert world.get(number).reason == "untouched"
