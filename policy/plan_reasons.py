"""Why a request starts when the planner says, and not a minute sooner.

Invariant: a reason is read from the plan as it stands, not from the way it was found: the same plan gives the
same reasons, however it came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from policy.board import Board
from policy.openings import Range, instant, minute, minute_of
from policy.plan import Placement, Reason, Unplaceable, Why
from policy.plan_entry import Entry
from policy.waiting import Hold, Queue
from policy.windows import occurrences

_HOLDS: Mapping[Hold, Why] = MappingProxyType(
    {Hold.DEFERRED: Why.DEFERRED, Hold.ANSWER: Why.ANSWER, Hold.LOCKED: Why.LOCKED}
)


def answer(board: Board, queue: Queue, entry: Entry) -> Placement | Unplaceable:
    """What the plan says about `entry`.

    Args:
        board: the planner's books.
        queue: what it was made from.
        entry: the request.
    """
    waiting = entry.waiting
    if waiting.hold is not None:
        return Unplaceable(request=waiting.id, reason=Reason(why=_HOLDS[waiting.hold]))
    position = board.position(entry)
    if entry.start is None:
        return Unplaceable(request=waiting.id, reason=_why_never(board, queue.now, entry), position=position)
    earlier: Range | None = None
    for within in board.ranges(entry, entry.earliest):
        if within.last >= entry.start:
            break
        earlier = within
    reason, delay = _why_then(board, queue.now, entry, within, earlier)
    start = instant(entry.start)
    end = start + waiting.expected
    return Placement(
        request=waiting.id,
        start=start,
        end_expected=end,
        start_by=instant(within.last) if within.last <= board.openings(waiting.calendar).until else None,
        position=position,
        line=entry.line,
        eta_low=start + waiting.likely,
        eta_high=end + delay,
        reason=reason,
        kept=_is_kept(entry, minute_of(queue.now)),
    )


def _why_never(board: Board, now: datetime, entry: Entry) -> Reason:
    waiting, openings = entry.waiting, board.openings(entry.waiting.calendar)
    needed = waiting.expected + waiting.put_back
    if entry.paused and entry.pause is not None:
        return Reason(why=Why.PAUSED, text=entry.pause.sentence)
    if waiting.start_by is not None and waiting.start_by < now:
        return Reason(why=Why.EXPIRED, at=waiting.start_by)
    if openings.at(0) is None:
        return Reason(why=Why.NO_WINDOW)
    if next(iter(board.ranges(entry, entry.earliest)), None) is not None:
        short = next((use.resource for use in waiting.uses if use.resource in entry.blocked), "")
        return Reason(why=Why.FULL, resource=short or entry.line)
    if entry.needed > openings.longest:
        return Reason(why=Why.TOO_LONG, needed=needed, left=timedelta(minutes=openings.longest))
    return Reason(why=Why.NO_WINDOW)


def _why_then(
    board: Board, at: datetime, entry: Entry, within: Range, earlier: Range | None
) -> tuple[Reason, timedelta]:
    """The reason, and by how much it may yet delay the end."""
    now, start = minute_of(at), entry.start or 0
    earliest = max(entry.earliest, now)
    if _is_kept(entry, now):
        return Reason(why=Why.CONFIRMED, at=instant(entry.confirmed)), timedelta(0)
    if start > max(within.first, earliest):
        return _busy(board, entry, start)
    if start == earliest:
        return _at_the_earliest(entry, start, now), timedelta(0)
    if earlier is not None:
        return _full(board, entry, earlier), timedelta(0)
    return _opens(board, entry, start, earliest), timedelta(0)


def _is_kept(entry: Entry, now: int) -> bool:
    """Whether it begins at the announced date, or at once when that has come."""
    return entry.kept and entry.start == max(entry.confirmed, now)


def _at_the_earliest(entry: Entry, start: int, now: int) -> Reason:
    pause = entry.pause
    if start == now:
        return Reason(why=Why.NOW, at=instant(start))
    if pause is not None and pause.until is not None and minute(pause.until) == start:
        return Reason(why=Why.PAUSED, at=pause.until, text=pause.sentence)
    return Reason(why=Why.ASKED_FOR, at=instant(start))


def _busy(board: Board, entry: Entry, start: int) -> tuple[Reason, timedelta]:
    """What is taken in the minute before `start`, and by whom until then."""
    for use in entry.waiting.uses:
        timeline = board.timeline(use.resource)
        if timeline.free_from(start - 1, entry.length, use.amount, start - 1, entry.turn) is not None:
            continue
        ending = [
            share.turn
            for share in timeline.overlapping(start - 1, start)
            if share.turn < entry.turn and share.end == start
        ]
        holder = board.holder(min(ending)) if ending else None
        return (
            Reason(
                why=Why.BUSY,
                resource=use.resource,
                held_by=None if holder is None else holder[0],
                at=instant(start),
            ),
            timedelta(0) if holder is None else holder[1],
        )
    raise AssertionError(f"{entry.waiting.id} could start a minute sooner")


def _full(board: Board, entry: Entry, earlier: Range) -> Reason:
    """What was taken all through an earlier window."""
    for use in entry.waiting.uses:
        free = board.timeline(use.resource).free_from(
            earlier.first, entry.length, use.amount, earlier.last, entry.turn
        )
        if free is None:
            return Reason(why=Why.WINDOW_FULL, resource=use.resource, at=instant(earlier.first))
    return Reason(why=Why.WINDOW_FULL, at=instant(earlier.first))


def _opens(board: Board, entry: Entry, start: int, earliest: int) -> Reason:
    """Why nothing was open between `earliest` and `start`."""
    waiting, calendar = entry.waiting, entry.waiting.calendar
    openings = board.openings(calendar)
    opening = openings.at(openings.index(earliest))
    missed = waiting.start_by is not None and waiting.start_by < instant(start)
    if opening is not None and opening.start < start:
        left = opening.end - max(opening.start, earliest)
        if left < entry.needed:
            whole = calendar.freeze_at(instant(opening.end))
            if whole is not None:
                return Reason(why=Why.FREEZE, at=instant(start), text=f"{whole.name}: {whole.reason}")
            return Reason(
                why=Why.TOO_LITTLE_LEFT,
                at=instant(opening.end),
                needed=waiting.expected + waiting.put_back,
                left=timedelta(minutes=left),
            )
        if missed:
            return Reason(why=Why.START_BY, at=waiting.start_by)
    would_open = instant(earliest)
    if calendar.windows:
        spans = (next(occurrences(window, would_open), None) for window in calendar.windows)
        would_open = max(would_open, min((span.start for span in spans if span), default=would_open))
    freeze = calendar.freeze_at(would_open)
    if freeze is not None:
        return Reason(why=Why.FREEZE, at=instant(start), text=f"{freeze.name}: {freeze.reason}")
    return Reason(why=Why.WINDOW, at=instant(start))
