"""What a piece of work takes, when it may happen, and the timelines that count it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from policy.names import Environment, RequestId, RunId, SiteId
from policy.openings import instant, minute, minutes
from policy.plan import Why
from policy.planner import Planner, plan
from policy.request import Kind
from policy.timeline import Share, Timeline
from policy.waiting import EVERYTHING, Calendars, Queue, Running, Use, capacities_of, uses_of
from policy.windows import Override
from tests.estate_parts import CHICAGO
from tests.unit.rights_estate import IN_STATE, PLAIN, estate
from tests.unit.waits import HOUR, NOW, wait

ESTATE = estate()


def resources(kind: Kind, environment: Environment) -> list[str]:
    return [use.resource for use in uses_of(ESTATE, kind, SiteId(PLAIN, environment))]


def test_an_upgrade_of_production_takes_every_database_of_its_web_application() -> None:
    assert resources(Kind.UPGRADE, Environment.PRODUCTION) == [
        "webapp:lakeside/live",
        "database:live/lakeside_production",
        "database:trial/lakeside_sandbox",
        "server:live",
        "server:trial",
        "host:web1",
        "all",
    ]


def test_a_refresh_takes_target_and_source_but_no_host() -> None:
    assert resources(Kind.REFRESH, Environment.STAGING) == [
        "webapp:lakeside/staging",
        "database:trial/lakeside_staging",
        "database:live/lakeside_production",
        "server:trial",
        "server:live",
        "all",
    ]


def test_production_and_its_sandbox_never_work_at_the_same_time() -> None:
    upgrade = set(resources(Kind.UPGRADE, Environment.PRODUCTION))
    assert {"webapp:lakeside/live"} <= upgrade & set(resources(Kind.REFRESH, Environment.SANDBOX))
    assert {"database:live/lakeside_production"} <= upgrade & set(
        resources(Kind.REFRESH, Environment.STAGING)
    )


def test_an_undo_takes_its_own_database_and_an_engine_upgrade_the_whole_server() -> None:
    assert "database:live/lakeside_production" not in resources(Kind.UNDO, Environment.STAGING)
    uses = uses_of(ESTATE, Kind.ENGINE, SiteId(PLAIN, Environment.STAGING))
    assert Use("server:trial", 2) in uses


def test_capacities_come_from_the_estate() -> None:
    found = capacities_of(ESTATE, host_slots=3)
    assert found == {EVERYTHING: 4, "server:live": 2, "server:trial": 2, "host:web1": 3}


def test_only_work_that_takes_a_site_off_line_needs_a_window() -> None:
    calendars = Calendars(ESTATE, NOW)
    site = SiteId(PLAIN, Environment.STAGING)
    assert calendars.of(site, Kind.REFRESH).windows is None
    assert calendars.of(site, Kind.UNDO).windows is None
    assert calendars.of(site, Kind.UPGRADE).windows is not None
    assert calendars.of(site, Kind.UPGRADE) is calendars.of(site, Kind.ENGINE)
    grouped = calendars.of(SiteId(IN_STATE, Environment.STAGING), Kind.UPGRADE)
    assert [freeze.name for freeze in grouped.freezes] == ["year end"]
    assert grouped.windows == ESTATE.windows(IN_STATE)
    override = Override(by="dana", reason="security", windows=True, freezes=True)
    freed = calendars.of(SiteId(IN_STATE, Environment.STAGING), Kind.UPGRADE, override)
    assert freed.windows is None
    assert freed.freezes == ()


def test_whole_minutes_are_rounded_so_that_nothing_begins_early_or_ends_late() -> None:
    at = datetime(2026, 11, 21, 12, 0, 1, tzinfo=UTC)
    assert instant(minute(at)) == NOW + timedelta(minutes=1)
    assert instant(minute(NOW)) == NOW
    assert minutes(timedelta(seconds=1)) == 1
    assert minutes(timedelta(minutes=5)) == 5
    assert minutes(timedelta(0)) == 1


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_both_kinds_of_timeline_agree_with_counting_every_minute(capacity: int) -> None:
    draw = random.Random(capacity)  # noqa: S311 - repeatable, no secret
    few, many = Timeline(capacity, 1000, busy=False), Timeline(capacity, 1000, busy=True)
    held: list[Share] = []
    for _ in range(600):
        if held and draw.random() < 0.4:
            share = held.pop(draw.randrange(len(held)))
            few.release(share)
            many.release(share)
        else:
            start = 1000 + draw.randrange(300)
            share = Share(
                start, start + draw.randint(1, 60), (2, 0, draw.randrange(50), len(held)), draw.randint(1, 2)
            )
            if share in held:
                continue
            held.append(share)
            few.hold(share)
            many.hold(share)
        start, length = 1000 + draw.randrange(400), draw.randint(1, 50)
        amount, turn = draw.randint(1, 2), (2, 0, draw.randrange(60), 0)
        limit = start + draw.randrange(300)
        expected = counted(held, start, length, capacity - amount, limit, turn)
        assert few.free_from(start, length, amount, limit, turn) == expected
        assert many.free_from(start, length, amount, limit, turn) == expected
        reached = (start, start + length, turn)
        assert (
            sorted(few.displaced(*reached))
            == sorted(many.displaced(*reached))
            == crowded(held, capacity, *reached)
        )


def counted(
    held: list[Share], start: int, length: int, room: int, limit: int, turn: tuple[int, int, int, int]
) -> int | None:
    def taken(at: int) -> int:
        return sum(s.amount for s in held if s.start <= at < s.end and s.turn < turn)

    if room < 0:
        return None
    clear = 0
    for at in range(start, limit + length):
        clear = clear + 1 if taken(at) <= room else 0
        if clear >= length:
            return at - length + 1
    return None


def crowded(
    held: list[Share], capacity: int, start: int, end: int, turn: tuple[int, int, int, int]
) -> list[tuple[int, int, int, int]]:
    def in_want(share: Share) -> bool:
        span = range(max(start, share.start), min(end, share.end))
        return any(
            sum(s.amount for s in held if s.start <= at < s.end and (s.turn < share.turn or s is share))
            > capacity
            for at in span
        )

    return sorted(share.turn for share in held if share.turn > turn and in_want(share))


def test_a_share_that_is_not_held_cannot_be_given_back() -> None:
    timeline = Timeline(1, 0, busy=False)
    with pytest.raises(KeyError):
        timeline.release(Share(0, 1, (2, 0, 0, 1), 1))
    with pytest.raises(ValueError, match="capacity of -1"):
        Timeline(-1, 0, busy=True)


def test_after_an_outage_the_night_is_not_made_up_for_in_the_morning() -> None:
    """Asked for 02:00 with a start-by of 06:00; the queue stood still until 08:00."""
    night = datetime(2026, 11, 22, 8, tzinfo=UTC)
    request = wait(1, not_before=night, start_by=night + 4 * HOUR, confirmed=night)
    morning = Queue(now=night + 6 * HOUR, waiting=(request,))
    found = plan(morning).placement(RequestId("R1"))
    assert found is not None
    assert found.start == night + timedelta(days=1)
    assert found.start_by == night + timedelta(days=1, hours=4)
    assert found.reason.why is Why.START_BY


def test_the_same_time_of_the_next_day_is_meant_in_local_time() -> None:
    before = datetime(2027, 3, 13, 9, 30, tzinfo=UTC)  # 03:30 CST, the day before the clocks change
    request = wait(1, not_before=before, start_by=before + HOUR)
    found = plan(Queue(now=before + 2 * HOUR, waiting=(request,))).placement(RequestId("R1"))
    assert found is not None
    assert found.start == before + timedelta(hours=23)
    assert found.start.astimezone(CHICAGO).hour == 3


def test_a_long_start_by_ends_instead_of_coming_back_every_day() -> None:
    request = wait(1, not_before=NOW - 60 * HOUR, start_by=NOW - HOUR)
    answer = plan(Queue(now=NOW, waiting=(request,))).answers[RequestId("R1")]
    assert answer.reason.why is Why.EXPIRED


def test_an_announced_date_gives_way_to_a_run_that_takes_longer_and_comes_back_to_it() -> None:
    announced = wait(1, confirmed=NOW + 2 * HOUR)
    later = wait(2)
    run = Running(run=RunId("r9a1"), uses=(Use("server:trial"),), until=NOW + HOUR)
    queue = Queue(now=NOW, waiting=(announced, later), running=(run,))
    planner = Planner(queue)
    assert planner.start(announced.id) == minute(NOW + 2 * HOUR)
    assert planner.start(later.id) == minute(NOW + HOUR)
    overrun = replace(queue, running=(replace(run, until=NOW + 3 * HOUR),))
    assert planner.update(overrun) == {announced.id, later.id}
    assert planner.plan() == plan(overrun)
    assert planner.start(announced.id) == minute(NOW + 3 * HOUR)
    assert planner.update(queue) == {announced.id, later.id}
    assert planner.plan() == plan(queue)
    assert planner.start(announced.id) == minute(NOW + 2 * HOUR)


def test_two_announced_dates_that_collide_keep_their_order_when_the_first_passes() -> None:
    first, second = wait(1, confirmed=NOW + HOUR), wait(2, confirmed=NOW + HOUR)
    queue = Queue(now=NOW, waiting=(first, second, wait(3, expected=HOUR / 2)))
    planner = Planner(queue)
    assert planner.start(second.id) == minute(NOW + 2 * HOUR)
    passed = replace(queue, now=NOW + HOUR + timedelta(minutes=10), waiting=queue.waiting[1:])
    planner.update(passed)
    assert planner.plan() == plan(passed)
    assert planner.start(second.id) == minute(passed.now), "it asked before R3"


def test_an_overdue_run_is_given_a_little_more_time_and_nobody_begins_beside_it() -> None:
    run = Running(run=RunId("r9a1"), uses=(Use("server:trial"),), until=NOW - HOUR)
    found = plan(Queue(now=NOW, waiting=(wait(1),), running=(run,))).placement(RequestId("R1"))
    assert found is not None
    assert found.start > NOW
    assert found.reason.held_by == "R9"


@pytest.mark.parametrize("seconds", [0, 1, 30, 59])
def test_whatever_may_start_now_is_due_now_at_any_second(seconds: int) -> None:
    now = NOW + timedelta(seconds=seconds)
    made = plan(Queue(now=now, waiting=(wait(1),)))
    assert [place.request for place in made.due(now)] == ["R1"]
    assert made.answers[RequestId("R1")].reason.why is Why.NOW


@pytest.mark.parametrize("late", [timedelta(seconds=1), timedelta(minutes=29, seconds=30)])
def test_a_date_that_has_come_keeps_its_turn_as_long_as_it_may_begin(late: timedelta) -> None:
    """Looked at late, or held up by a run that takes longer, it does not fall behind who asked before."""
    announced = wait(9, confirmed=NOW, not_before=NOW, start_by=NOW + HOUR)
    before = wait(1, expected=8 * HOUR)
    queue = Queue(now=NOW + late, waiting=(before, announced))
    found = plan(queue).placement(announced.id)
    assert found is not None
    assert found.start <= queue.now
    assert found.kept
    assert found.reason.why is Why.CONFIRMED
    run = Running(run=RunId("r8a1"), uses=(Use("server:trial"),), until=NOW + late + timedelta(minutes=20))
    held_up = plan(replace(queue, running=(run,))).placement(announced.id)
    assert held_up is not None
    assert timedelta(0) < held_up.start - queue.now <= timedelta(minutes=21)
    assert not held_up.kept
    too_late = plan(replace(queue, now=NOW + 2 * HOUR)).placement(announced.id)
    assert too_late is not None
    assert too_late.start == NOW + timedelta(days=1)


def test_the_last_minute_of_a_window_is_not_used_when_it_is_already_begun() -> None:
    """The work fits at 12:00:00 sharp; at 12:00:30 it would end half a minute after the deadline."""
    request = wait(1, start_by=NOW)
    assert plan(Queue(now=NOW, waiting=(request,))).placement(request.id) is not None
    later = plan(Queue(now=NOW + timedelta(seconds=30), waiting=(request,)))
    assert later.answers[request.id].reason.why is Why.EXPIRED


@pytest.mark.parametrize("others", [0, 200])
def test_what_runs_is_in_the_way_from_the_minute_on_that_has_begun(others: int) -> None:
    """At 12:00:30 a run that ends at 12:00:50 still has its place; few and many want it."""
    now = NOW + timedelta(seconds=30)
    run = Running(run=RunId("r900a1"), uses=(Use("server:trial"),), until=NOW + timedelta(seconds=50))
    crowd = tuple(wait(number) for number in range(2, 2 + others))
    queue = Queue(now=now, waiting=(wait(1), *crowd), running=(run,))
    made = plan(queue)
    assert made.due(now) == ()
    found = made.placement(RequestId("R1"))
    assert found is not None
    assert found.start == NOW + timedelta(minutes=1)
