"""No plan breaks a limit, and nobody is overtaken or starves."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings

from policy.names import RequestId
from policy.pause import applying
from policy.plan import Placement, Plan, Unplaceable, Why
from policy.planner import GRACE
from policy.request import Kind
from policy.waiting import Queue, Use, Waiting
from tests.properties.planned import counted, each, plan
from tests.properties.queues import CALENDARS, CAPACITIES, CHICAGO, GRID, NO_WINDOW, NOW, SITES, queues

REACH = timedelta(days=24)


def check_limits(queue: Queue, made: Plan) -> None:
    """Every rule, checked from the outside, instant by instant where something changes."""
    assert set(made.answers) == {w.id for w in queue.waiting}
    spans: list[tuple[datetime, datetime, Waiting]] = []
    for waiting in queue.waiting:
        found = made.placement(waiting.id)
        if found is None:
            continue
        assert waiting.hold is None
        assert found.start >= queue.now
        assert waiting.not_before is None or found.start >= waiting.not_before
        done = found.start + waiting.expected + waiting.put_back
        inside = [
            s
            for s in waiting.calendar.spans(queue.now, queue.now + 2 * REACH)
            if s.start <= found.start and done <= s.end
        ]
        assert inside, "the work and its put-back must fit into one window, outside every freeze"
        check_start_by(waiting, found, inside[0].start)
        pause = applying(queue.pauses, waiting.scopes, queue.now)
        if pause is not None:
            assert found.start >= (pause.until or queue.now + GRACE)
        assert found.eta_low <= found.end_expected <= found.eta_high
        assert found.position >= 1
        spans.append((found.start, found.start + waiting.expected, waiting))
    for mark in {start for start, _, _ in spans}:
        taken: Counter[str] = Counter()
        for start, end, waiting in spans:
            if start <= mark < end:
                taken.update({use.resource: use.amount for use in waiting.uses})
        planned = set(taken)
        for running in queue.running:
            if mark < max(running.until, queue.now + timedelta(minutes=5)):
                taken.update({use.resource: use.amount for use in running.uses})
        for resource in planned:
            assert taken[resource] <= CAPACITIES.get(resource, 1), (resource, mark)


def check_start_by(waiting: Waiting, found: Placement, opens: datetime) -> None:
    if waiting.start_by is None:
        return
    assert found.start_by is not None
    assert found.start <= found.start_by
    if found.start <= waiting.start_by:
        return
    if waiting.calendar.windows is not None:
        assert opens > waiting.start_by, "what missed its start-by waits for a window that opens after it"
        return
    assert waiting.not_before is not None
    wall = [at.astimezone(waiting.zone).replace(tzinfo=None) for at in (waiting.not_before, found.start)]
    since = (wall[1] - wall[0]) % timedelta(days=1)
    assert since <= waiting.start_by - waiting.not_before, "only at the same time of a later day"


@pytest.mark.parametrize("examples", each(150, 2000))
def test_no_plan_breaks_a_limit(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(queue=queues(), counting=counted)
    def run(queue: Queue, *, counting: bool) -> None:
        check_limits(queue, plan(queue, counting=counting))

    run()


def turn_order(queue: Queue) -> list[Waiting]:
    """Who comes before whom, from the rule alone: announced dates that hold, by date, then by asking."""

    def key(waiting: Waiting) -> tuple[int, datetime, datetime, int]:
        date = announced(queue, waiting)
        return (2 if date is None else 1, date or NOW, waiting.asked_at, waiting.id.number)

    return sorted((w for w in queue.waiting if w.hold is None), key=key)


def announced(queue: Queue, waiting: Waiting) -> datetime | None:
    """The announced date, if beside nothing but what runs the work could begin in the same place."""
    date = waiting.confirmed
    if date is None or (waiting.not_before is not None and date < waiting.not_before):
        return None
    alone = replace(queue, now=min(queue.now, date), running=(), pauses=())
    if not possible(alone, [], waiting, date):
        return None
    opening = next(span for span in waiting.calendar.spans(date, date + timedelta(minutes=1)))
    at = max(date, queue.now)
    while at < opening.end and same_hours(waiting, date, at, opening.start):
        if possible(queue, [], waiting, at):
            return date
        at += GRID
    return None


def same_hours(waiting: Waiting, date: datetime, at: datetime, opens: datetime) -> bool:
    """Whether `at` belongs to the same window, or the same hours asked for, as `date`."""
    if waiting.start_by is None:
        return True
    if date <= waiting.start_by:
        return at <= waiting.start_by
    if waiting.calendar.windows is not None:
        return opens > waiting.start_by
    assert waiting.not_before is not None
    local = [t.astimezone(waiting.zone).replace(tzinfo=None) for t in (waiting.not_before, date)]
    into = (local[1] - local[0]) % timedelta(days=1)
    return into + (at - date) <= waiting.start_by - waiting.not_before


def possible(queue: Queue, before: list[tuple[datetime, Waiting]], waiting: Waiting, at: datetime) -> bool:
    """Whether `waiting` may start `at`, given only those `before` it; worked out without the planner."""
    pause = applying(queue.pauses, waiting.scopes, queue.now)
    lifted = queue.now if pause is None or pause.until is None else pause.until
    if at < max(queue.now, lifted, waiting.not_before or queue.now):
        return False
    spans = waiting.calendar.spans(at, at + timedelta(minutes=1))
    opening = next((span for span in spans if span.start <= at), None)
    if opening is None or at + waiting.expected + waiting.put_back > opening.end:
        return False
    return in_time(waiting, at, opening.start) and enough_left(queue, before, waiting, at)


def in_time(waiting: Waiting, at: datetime, opens: datetime) -> bool:
    if waiting.start_by is None or at <= waiting.start_by:
        return True
    if waiting.calendar.windows is not None:
        return opens > waiting.start_by
    if waiting.not_before is None or waiting.start_by - waiting.not_before > timedelta(days=1):
        return False
    local = [t.astimezone(waiting.zone).replace(tzinfo=None) for t in (waiting.not_before, at)]
    return (local[1] - local[0]) % timedelta(days=1) <= waiting.start_by - waiting.not_before


def enough_left(queue: Queue, before: list[tuple[datetime, Waiting]], waiting: Waiting, at: datetime) -> bool:
    end = at + waiting.expected
    for use in waiting.uses:
        held = [
            (NOW - REACH, max(running.until, queue.now + timedelta(minutes=5)), other.amount)
            for running in queue.running
            for other in running.uses
            if other.resource == use.resource
        ]
        held += [
            (start, start + earlier.expected, other.amount)
            for start, earlier in before
            for other in earlier.uses
            if other.resource == use.resource
        ]
        marks = {at} | {start for start, _, _ in held if at < start < end}
        capacity = CAPACITIES.get(use.resource, 1)
        if any(use.amount + sum(n for s, e, n in held if s <= m < e) > capacity for m in marks):
            return False
    return True


@pytest.mark.parametrize("examples", each(60, 2000))
def test_first_come_first_served_and_nobody_starves(examples: int) -> None:
    """In turn, each starts at the first instant that those before it leave free; a witness walks the grid."""

    @settings(max_examples=examples, deadline=None)
    @given(queue=queues(most=6), counting=counted)
    def run(queue: Queue, *, counting: bool) -> None:
        queue = replace(queue, running=tuple(r for r in queue.running if r.until > queue.now))
        made = plan(queue, counting=counting)
        before: list[tuple[datetime, Waiting]] = []
        for waiting in turn_order(queue):
            found = made.answers[waiting.id]
            last = found.start if isinstance(found, Placement) else queue.now + REACH
            at = max(announced(queue, waiting) or queue.now, queue.now)
            while at <= last and not possible(queue, before, waiting, at):
                at += GRID
            paused = applying(queue.pauses, waiting.scopes, queue.now)
            if isinstance(found, Placement):
                assert at == found.start, f"{waiting.id} could start at {at}"
                before.append((found.start, waiting))
            elif found.reason.why is Why.PAUSED:
                assert paused is not None
                assert at < queue.now + GRACE
            else:
                assert at > last, f"{waiting.id} has no place but could start at {at}"

    run()


def simple(number: int, **changes: object) -> Waiting:
    plain = Waiting(
        id=RequestId.of(number),
        kind=Kind.REFRESH,
        site=SITES[1],
        asked_at=NOW - timedelta(hours=1),
        uses=(Use("server:trial"),),
        likely=timedelta(minutes=40),
        expected=timedelta(hours=1),
        put_back=timedelta(minutes=15),
        calendar=CALENDARS[3],
        zone=CHICAGO,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # any field


def only(*waiting: Waiting) -> list[Placement | Unplaceable]:
    return list(plan(Queue(now=NOW, waiting=waiting, capacities=CAPACITIES)).answers.values())


def test_reasons_of_those_that_have_no_place() -> None:
    reasons = [
        answer.reason.why
        for answer in only(
            simple(1, calendar=NO_WINDOW),
            simple(2, calendar=CALENDARS[0], expected=timedelta(hours=5)),
            simple(3, start_by=NOW - timedelta(minutes=1)),
            simple(4, uses=(Use("server:trial", 2),)),
        )
    ]
    assert reasons == [Why.NO_WINDOW, Why.TOO_LONG, Why.EXPIRED, Why.FULL]
