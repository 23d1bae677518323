"""Plan: give waiting requests their dates, move the dates that no longer hold, and tell whom it concerns.

Invariant: a date is announced once and kept as long as it can be (`policy.planner`). Whoever waits only for
other work to end soon keeps the date, or gets one when the turn comes: nobody is written to for minutes. A
date carries its own start-by; whatever missed it moves to its next date and is told why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from infra.ledger import chores, requests
from infra.ledger.connection import Connection
from policy.estate import Estate
from policy.explain import explain
from policy.lifecycle import Actor, Event
from policy.local_time import for_people
from policy.openings import minute
from policy.plan import Placement, Reason, Unplaceable, Why
from policy.planner import plan as make_plan
from policy.request import Kind, Request, Status
from policy.waiting import Waiting
from tasks.change import change
from tasks.queue import Reading, read_queue
from tasks.world import World

SOON = timedelta(minutes=30)
"""A turn this near that only other work holds up is not a date, and no reason to move one."""

_OTHERS = frozenset({Why.BUSY, Why.WINDOW_FULL})
_PLANNED = (Status.TO_BE_SCHEDULED, Status.SCHEDULED)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a plan changes about one request.

    Attributes:
        event: None when nobody is told: only `columns` change.
    """

    request: Request
    event: Event | None = None
    reason: str = ""
    columns: Mapping[str, object] = field(default_factory=dict)
    detail: Mapping[str, object] = field(default_factory=dict)


def plan(world: World) -> int:
    """One round over everything that waits; nothing is done while nothing has changed since the last.

    Returns:
        How many requests were given a date, moved, or ended because none is left.

    Raises:
        Unavailable: the ledger does not answer.
    """
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        mark = _mark(world, connection, now)
        if chores.seen(connection, "plan") == mark:
            return 0
    changed = plan_now(world)
    with world.ledger.transaction() as connection:
        chores.remember(connection, "plan", now=now, mark=mark)
    return changed


def plan_now(world: World) -> int:
    """One round, whether or not anything has changed; see `plan`."""
    estate = world.estate()
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        if not requests.find(connection, statuses=_PLANNED, limit=1):
            return 0
        reading = read_queue(connection, estate, now)
    return sum(_apply(world, estate, decision) for decision in _decisions(reading, estate))


def dated(waiting: Waiting, answer: Placement, now: datetime) -> dict[str, object]:
    """The columns of a request whose date becomes `answer`: the start, and the start-by that goes with it."""
    start = _start(answer, now)
    return {"scheduled_for": start, **_bounds(waiting, answer, start)}


def undated(request: Request) -> dict[str, object]:
    """The columns of a request whose date falls away; the start-by of an upgrade was its window's."""
    windowed = request.kind in {Kind.UPGRADE, Kind.ENGINE}
    return {"scheduled_for": None, **({"start_by": None} if windowed else {})}


def because(reason: Reason, zone: ZoneInfo) -> str:
    """The reason as a sentence that stands by itself."""
    words = explain(reason, zone)
    return words[:1].upper() + words[1:]


def promised(answer: Placement) -> dict[str, object]:
    """What a date tells people beside itself."""
    return {
        "eta_low": answer.eta_low.isoformat(),
        "eta_high": answer.eta_high.isoformat(),
        "expected_s": (answer.end_expected - answer.start).total_seconds(),
    }


def _mark(world: World, connection: Connection, now: datetime) -> str:
    """Everything that a plan depends on, in short: events, the minute, the estate's file."""
    row = connection.execute("select coalesce(max(id), 0) as last from event").fetchone()
    try:
        file = world.settings.estate.stat()
        estate = f"{file.st_ino}:{file.st_mtime_ns}:{file.st_size}"
    except OSError:
        estate = "none"  # Loading it says what is wrong.
    return f"{row['last'] if row else 0} {minute(now)} {estate}"


def _decisions(reading: Reading, estate: Estate) -> list[Decision]:
    made = make_plan(reading.queue)
    now = reading.queue.now
    found = []
    for waiting in reading.queue.waiting:
        request = reading.requests[waiting.id]
        if request.status not in _PLANNED:
            continue
        answer = made.answers[waiting.id]
        zone = estate.customer(waiting.site.customer).zone
        reason = because(answer.reason, zone)
        decision = (
            _placed(request, waiting, answer, now, reason, zone)
            if isinstance(answer, Placement)
            else _unplaced(request, answer, now, reason, zone)
        )
        if decision is not None:
            found.append(decision)
    return found


def _placed(
    request: Request, waiting: Waiting, answer: Placement, now: datetime, reason: str, zone: ZoneInfo
) -> Decision | None:
    columns = dated(waiting, answer, now)
    others = answer.reason.why in _OTHERS
    if request.status is Status.TO_BE_SCHEDULED:
        if others and answer.start - now < SOON:
            return _shown(request, reason)
        event = Event.SCHEDULE
    elif answer.kept:
        return _silently(request, {key: columns[key] for key in columns if key != "scheduled_for"})
    elif others and answer.start - max(now, request.scheduled_for or now) < SOON:
        return _shown(request, reason)
    else:
        event = Event.MOVE
        reason = _late(request, now, zone) + reason
    return Decision(request=request, event=event, reason=reason, columns=columns, detail=promised(answer))


def _unplaced(
    request: Request, answer: Unplaceable, now: datetime, reason: str, zone: ZoneInfo
) -> Decision | None:
    late = _late(request, now, zone)
    if answer.reason.why is Why.EXPIRED or (late and answer.reason.why is Why.NO_WINDOW):
        return Decision(request=request, event=Event.EXPIRE, reason=f"{late}{reason}")
    if request.status is Status.SCHEDULED:
        return Decision(request=request, event=Event.UNSCHEDULE, reason=reason, columns=undated(request))
    return _shown(request, reason)


def _late(request: Request, now: datetime, zone: ZoneInfo) -> str:
    """What is said first about a request that missed its start-by."""
    if request.start_by is None or request.start_by >= now:
        return ""
    return f"It could not begin by {for_people(request.start_by, zone)}. "


def _shown(request: Request, reason: str) -> Decision | None:
    return None if request.reason == reason else Decision(request=request, columns={"reason": reason})


def _silently(request: Request, columns: Mapping[str, object]) -> Decision | None:
    same = all(getattr(request, name) == value for name, value in columns.items())
    return None if same else Decision(request=request, columns=columns)


def _apply(world: World, estate: Estate, decision: Decision) -> int:
    read = decision.request
    with world.ledger.transaction() as connection:
        request = requests.get(connection, read.id, lock=True)
        if request != read:
            return 0  # Somebody changed it meanwhile; the next round sees it as it is.
        if decision.event is None:
            requests.update(connection, request.id, decision.columns)
            return 0
        change(
            world,
            connection,
            estate,
            request.id,
            decision.event,
            at=world.clock.now(),
            by=Actor.FRESHET,
            who="planner",
            reason=decision.reason,
            columns=decision.columns,
            detail=decision.detail,
        )
        return 1


def _start(answer: Placement, now: datetime) -> datetime:
    """The placed minute, or this very moment when nothing keeps it waiting."""
    return now if answer.reason.why is Why.NOW else answer.start


def _bounds(waiting: Waiting, answer: Placement, start: datetime) -> dict[str, object]:
    """Until when work placed at `start` may begin: the end of its window, or of the hours asked for."""
    if waiting.calendar.windows is not None:
        return {"start_by": answer.start_by}
    for number in count():
        slot = waiting.slot(number)
        if slot is None or start < slot.opens:
            break
        if start <= slot.closes:
            return {"not_before": slot.opens, "start_by": slot.closes}
    return {}
