"""Plan: give waiting requests their dates, move the dates that no longer hold, and tell whom it concerns.

Invariant: a date is announced once and kept as long as it can be (`policy.planner`); a request that only
waits for other work to end is not given a date that its end would change, but an expected start.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from policy.explain import explain

from infra.ledger import requests
from infra.ledger.connection import Connection
from policy.estate import Estate
from policy.lifecycle import Actor, Event
from policy.plan import Placement, Plan, Unplaceable, Why
from policy.planner import plan as make_plan
from policy.request import Request, Status
from policy.waiting import Waiting
from tasks.change import change
from tasks.queue import read_queue
from tasks.world import World

SOON = timedelta(minutes=30)
"""A turn this near that only other work holds up is announced when it comes."""

ROUND = timedelta(minutes=1)
"""The planner counts in whole minutes."""


def plan(world: World) -> int:
    """One round over everything that waits.

    Returns:
        How many requests were given a date, moved, or ended because none is left.

    Raises:
        Unavailable: the ledger does not answer.
    """
    estate = world.estate()
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        if not requests.find(connection, statuses=[Status.TO_BE_SCHEDULED, Status.SCHEDULED], limit=1):
            return 0
        queue = read_queue(connection, estate, now)
    made = make_plan(queue)
    changed = 0
    for waiting in queue.waiting:
        with world.ledger.transaction() as connection:
            changed += _announce(world, connection, estate, made, waiting)
    return changed


def _announce(world: World, connection: Connection, estate: Estate, made: Plan, waiting: Waiting) -> int:
    now = world.clock.now()
    request = requests.get(connection, waiting.id, lock=True)
    if request.status not in {Status.TO_BE_SCHEDULED, Status.SCHEDULED}:
        return 0
    if request.scheduled_for != waiting.confirmed:
        return 0  # Somebody moved it meanwhile; the next round sees it as it is.
    answer = made.answers[waiting.id]
    sentence = explain(answer.reason, estate.customer(waiting.site.customer).zone)
    if isinstance(answer, Unplaceable):
        return _without_a_place(world, connection, estate, request, answer, sentence=sentence)
    start = _start(waiting, answer, now)
    if request.status is Status.SCHEDULED:
        # A date that has come is the dispatcher's; one that passed unclaimed is placed anew.
        if request.scheduled_for == start or (request.scheduled_for or now) <= now <= _latest(
            answer, request
        ):
            return 0
        event = Event.MOVE
    elif answer.reason.why in {Why.BUSY, Why.WINDOW_FULL} and start - now < SOON:
        return _keep_reason(connection, request, sentence)
    else:
        event = Event.SCHEDULE
    change(
        world,
        connection,
        estate,
        request.id,
        event,
        at=now,
        by=Actor.FRESHET,
        who="planner",
        reason=sentence,
        columns={"scheduled_for": start, "start_by": request.start_by or answer.start_by},
        detail={
            "eta_low": answer.eta_low.isoformat(),
            "eta_high": answer.eta_high.isoformat(),
            "expected_s": (answer.end_expected - answer.start).total_seconds(),
        },
    )
    return 1


def _start(waiting: Waiting, answer: Placement, now: datetime) -> datetime:
    """The placed minute, or this very moment when nothing but the rounding lies between."""
    if answer.reason.why is not Why.NOW or answer.start - now > ROUND:
        return answer.start
    calendar = waiting.calendar
    span = calendar.span(calendar.index(now))
    return answer.start if span is None else min(answer.start, max(now, span.start))


def _latest(answer: Placement, request: Request) -> datetime:
    return request.start_by or answer.start_by or datetime.max.replace(tzinfo=answer.start.tzinfo)


def _without_a_place(
    world: World,
    connection: Connection,
    estate: Estate,
    request: Request,
    answer: Unplaceable,
    *,
    sentence: str,
) -> int:
    now = world.clock.now()
    if answer.reason.why is Why.EXPIRED:
        event, columns = Event.EXPIRE, {}
    elif request.status is Status.SCHEDULED:
        event, columns = Event.UNSCHEDULE, {"scheduled_for": None}
    else:
        return _keep_reason(connection, request, sentence)
    change(
        world,
        connection,
        estate,
        request.id,
        event,
        at=now,
        by=Actor.FRESHET,
        who="planner",
        reason=sentence,
        columns=columns,
    )
    return 1


def _keep_reason(connection: Connection, request: Request, sentence: str) -> int:
    """The sentence is shown on the request; nobody is written to because of it."""
    if request.reason != sentence:
        requests.update(connection, request.id, {"reason": sentence})
    return 0
