"""Dates in the ledger: given, kept, moved with their reason, and what the queue says of those that wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from policy.errors import Busy
from policy.names import CustomerName, RequestId, SiteId, Version
from policy.permissions import freshet
from policy.request import Outcome, Status
from policy.wish import Wish
from tasks import manage
from tasks.queue_view import place_of, queue_view
from tasks.submit import submit
from tests.integration.request_worlds import (
    DANA,
    ENGINEER,
    LIVE,
    NIGHT,
    NOW,
    SANDBOX,
    STAGING,
    SUNDAY_WINDOW,
    THURSDAY_WINDOW,
    WEEK,
    RequestWorld,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
QUARTER = 15 * MINUTE


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
