"""Decides who starts when: first come, first served, within everything that is limited.

Invariant: nobody is placed where a limit, a window, a freeze or a deadline would be broken, and nobody could
start sooner without delaying somebody whose turn comes before. Turns: what runs already; then the dates that
were announced and still hold, by date; then everybody else in the order in which they asked. An announced
date holds as long as the work can begin, beside what runs already, within the same window (or the same hours
asked for) and not before the date. One that no longer holds (an outage, a longer run, another window or
freeze) gives up its place, and its request stands where it stood when it was asked for.

Equal queues give equal plans. `Planner.update` gives the same plan as planning anew, but looks again only at
those whom a change can reach: whoever was kept waiting by what became free, and whoever stands behind what
was taken.
"""

from __future__ import annotations

from datetime import timedelta

from policy.board import FAR, Board
from policy.names import RequestId
from policy.openings import Range, minute, minute_of, minutes
from policy.pause import Pause, applying
from policy.plan import Placement, Plan, Unplaceable
from policy.plan_entry import Entry
from policy.plan_reasons import answer
from policy.timeline import NO_TURN, Turn
from policy.waiting import Queue, Waiting

GRACE = timedelta(hours=1)
"""Under a pause without an end, whatever would start within this time has no date; later dates stand."""
_ANEW_AFTER = timedelta(days=2)
_BEHIND_RUNNING: Turn = (1, -1, 0, 0)
_ANNOUNCED, _ASKED = 1, 2
_MANY = 400
"""A change that reaches more requests than this is followed by planning anew, which is then faster."""


def plan(queue: Queue) -> Plan:
    """The plan for `queue`."""
    return Planner(queue).plan()


class Planner:
    """Keeps a plan up to date."""

    def __init__(self, queue: Queue) -> None:
        """Plan `queue`."""
        self._begin(queue)

    @property
    def queue(self) -> Queue:
        """What the plan was made from."""
        return self._queue

    def start(self, request: RequestId) -> int | None:
        """The minute at which `request` is to start, or None when it has no place."""
        return self._board.entries[request].start

    def answer(self, request: RequestId) -> Placement | Unplaceable:
        """What the plan says about `request`, with its position and its reason."""
        return answer(self._board, self._queue, self._board.entries[request])

    def plan(self) -> Plan:
        """The whole plan."""
        return Plan(
            made_at=self._queue.now,
            answers={waiting.id: self.answer(waiting.id) for waiting in self._queue.waiting},
        )

    def update(self, queue: Queue) -> frozenset[RequestId]:
        """Take `queue` in place of the last one; the requests whose start is another now, or that are new.

        Share the `Calendars` between queues: a request with another calendar is another request.
        """
        entries = self._board.entries
        before = {request: entry.start for request, entry in entries.items()}
        fresh = [
            waiting
            for waiting in queue.waiting
            if (known := entries.get(waiting.id)) is None
            or (known.waiting is not waiting and known.waiting != waiting)
        ]
        if self._must_begin_anew(queue, fresh) or not self._follow(queue, fresh):
            self._begin(queue)
        return frozenset(
            request
            for request, entry in self._board.entries.items()
            if request not in before or before[request] != entry.start
        )

    def _must_begin_anew(self, queue: Queue, fresh: list[Waiting]) -> bool:
        old = self._queue
        return (
            queue.now < old.now
            or queue.now - self._board.origin > _ANEW_AFTER
            or bool(queue.pauses or old.pauses)
            or queue.capacities != old.capacities
            or not all(self._board.knows(running.uses) for running in queue.running)
            or not all(self._board.knows(waiting.uses) for waiting in fresh)
        )

    def _begin(self, queue: Queue) -> None:
        self._take_time(queue)
        self._board = Board(queue)
        for waiting in queue.waiting:
            entry = self._board.entries[waiting.id] = Entry(waiting)
            self._give_turn(entry)
        for _, entry in sorted(self._board.by_turn.items()):
            self._place(entry, 0, FAR)

    def _take_time(self, queue: Queue) -> None:
        """Whatever is placed at the minute that has begun is due at once, and must fit a minute later too."""
        self._queue = queue
        self._now = minute_of(queue.now)
        self._latest_now = minute(queue.now)

    def _follow(self, queue: Queue, fresh: list[Waiting]) -> bool:
        """Take `queue` over; False when that reaches so many that planning anew is faster."""
        board = self._board
        self._take_time(queue)
        for request in board.entries.keys() - {waiting.id for waiting in queue.waiting}:
            board.forget(board.entries.pop(request))
        touched = board.follow(queue)
        for waiting in fresh:
            if waiting.id in board.entries:
                board.forget(board.entries[waiting.id])
            board.entries[waiting.id] = Entry(waiting)
        again = self._stale(touched)
        if len(again) > _MANY:
            return False
        for entry in again:
            board.forget(entry)
        for entry in [*again, *(board.entries[waiting.id] for waiting in fresh)]:
            self._give_turn(entry)
            if entry.waiting.hold is None:
                board.call(entry.turn)
        for _ in range(_MANY):
            following = board.next_call()
            if following is None:
                return True
            self._place(*following)
        return False

    def _stale(self, touched: set[str]) -> list[Entry]:
        """Whoever has a turn and must be looked at because of the time, or of what runs."""
        now = self._now
        return [
            entry
            for entry in self._board.by_turn.values()
            if entry.start is None
            or entry.start < now
            or (entry.kept and entry.confirmed < now)
            or (
                touched
                and entry.waiting.confirmed is not None
                and any(use.resource in touched for use in entry.waiting.uses)
                and self._keeps_its_date(entry) != entry.kept
            )
        ]

    def _give_turn(self, entry: Entry) -> None:
        waiting = entry.waiting
        if waiting.hold is not None:
            entry.turn, entry.kept = NO_TURN, False
            return
        entry.pause = applying(self._queue.pauses, waiting.scopes, self._queue.now)
        entry.kept = self._keeps_its_date(entry)
        confirmed = entry.confirmed if entry.kept else 0
        asked = int(waiting.asked_at.timestamp())
        entry.turn = (_ANNOUNCED if entry.kept else _ASKED, confirmed, asked, waiting.id.number)
        entry.earliest = max(self._now, confirmed, entry.asked_for, _end_of_pause(entry.pause))
        self._board.add(entry)

    def _keeps_its_date(self, entry: Entry) -> bool:
        """Whether the announced date holds, as far as the request itself and what runs decide."""
        if entry.waiting.confirmed is None or entry.confirmed < entry.asked_for:
            return False
        first = next(iter(self._board.ranges(entry, entry.confirmed)), None)
        if first is None or first.first != entry.confirmed or first.last < self._latest_now:
            return False
        begin = max(entry.confirmed, self._now, _end_of_pause(entry.pause))
        return begin <= first.last and (
            self._in_range(entry, first._replace(first=begin), {}, _BEHIND_RUNNING) is not None
        )

    def _place(self, entry: Entry, first: int, last: int) -> None:
        """Find the place of `entry`, which can only have changed for starts from `first` to `last`."""
        entry.earliest = max(entry.earliest, self._now)
        begin, bounded = max(first, entry.earliest), last < FAR
        if bounded and entry.start is not None:
            last = min(last, entry.start - 1)
        # Outside these minutes, what kept it from starting still does.
        blocked = dict(entry.blocked) if bounded or begin > entry.earliest else {}
        found: int | None = None
        for within in self._board.ranges(entry, begin):
            if within.first > last:
                break
            if within.last < self._latest_now:
                continue
            within = within._replace(last=min(within.last, last))  # noqa: PLW2901 - the same range, cut off
            found = self._in_range(entry, within, blocked, entry.turn)
            if found is not None:
                break
        if found is None and bounded:
            found = entry.start
        entry.paused = (
            found is not None
            and entry.pause is not None
            and entry.pause.until is None
            and found < self._now + minutes(GRACE)
        )
        self._board.move(entry, None if entry.paused else found, blocked)

    def _in_range(
        self, entry: Entry, within: Range, blocked: dict[str, tuple[int, int]], turn: Turn
    ) -> int | None:
        """The first minute in `within` at which all is free in `turn`; `blocked` notes what was not."""
        at, length = within.first, entry.length
        uses = [(self._board.timeline(use.resource), use) for use in entry.waiting.uses]
        agreed, following = 0, 0
        while agreed < len(uses):
            timeline, use = uses[following]
            free = timeline.free_from(at, length, use.amount, within.last, turn)
            if free != at:
                until = within.last + 1 if free is None else free
                begun, ended = blocked.get(use.resource, (at, until))
                blocked[use.resource] = (min(begun, at), max(ended, until))
                if free is None:
                    return None
                at, agreed = free, 0
            agreed += 1
            following = (following + 1) % len(uses)
        return at


def _end_of_pause(pause: Pause | None) -> int:
    return minute(pause.until) if pause is not None and pause.until is not None else 0
