"""Who holds what, and whom a change can reach: the planner's books.

Invariant: what an entry or a run holds on the timelines is exactly what its place says. When something is
taken or given back, every entry whose place that may change is called up, in turn, with the minutes at which
a start has to be tried: those that became free, or everything from the start that was lost.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from heapq import heappop, heappush

from policy.names import RequestId, RunId
from policy.openings import Openings, Range, minute, minute_of, ranges
from policy.plan_entry import Entry
from policy.timeline import Share, Timeline, Turn
from policy.waiting import Queue, Running, Use
from policy.windows import Calendar

_OVERDUE = timedelta(minutes=5)
"""How much longer a run is given that should have ended by now."""
FAR = 10**9
"""No last minute."""
_BUSY_FROM = 150
"""From so many users on, a timeline counts by the minute."""


class Board:
    """The timelines of everything limited, with all that is held on them."""

    def __init__(self, queue: Queue) -> None:
        """Begin with what runs in `queue`; nobody who waits is placed yet."""
        self.origin = queue.now
        self.entries: dict[RequestId, Entry] = {}
        self.by_turn: dict[Turn, Entry] = {}
        # Whatever may start now is placed at the minute that has begun, so what runs is counted from it on.
        self._first = minute_of(queue.now)
        self._running: dict[RunId, tuple[Turn, int, Running]] = {}
        self._openings: dict[int, Openings] = {}
        self._blocked: dict[str, set[RequestId]] = defaultdict(set)
        self._lines: dict[str, list[Turn]] = defaultdict(list)
        self._called: list[Turn] = []
        self._tries: dict[Turn, tuple[int, int]] = {}
        wanted: dict[str, int] = defaultdict(int)
        for everyone in (queue.waiting, queue.running):
            for one in everyone:
                for use in one.uses:
                    wanted[use.resource] += 1
        self._timelines = {
            resource: Timeline(queue.capacities.get(resource, 1), self._first, busy=count >= _BUSY_FROM)
            for resource, count in wanted.items()
        }
        for running in queue.running:
            self._add(running, queue)

    def knows(self, uses: Iterable[Use]) -> bool:
        """Whether there is a timeline for each of `uses`."""
        return all(use.resource in self._timelines for use in uses)

    def timeline(self, resource: str) -> Timeline:
        """The timeline of `resource`."""
        return self._timelines[resource]

    def openings(self, calendar: Calendar) -> Openings:
        """The openings of `calendar`, shared by all who have it."""
        known = self._openings.get(id(calendar))
        if known is None:
            known = self._openings[id(calendar)] = Openings(calendar, self.origin)
        return known

    def ranges(self, entry: Entry, earliest: int) -> Iterable[Range]:
        """Where `entry` may begin from `earliest` on, limits apart."""
        return ranges(entry.waiting, self.openings(entry.waiting.calendar), earliest, entry.needed)

    def holder(self, turn: Turn) -> tuple[RequestId, timedelta] | None:
        """Whose turn it is, and how long taking that work back would take."""
        if turn in self.by_turn:
            waiting = self.by_turn[turn].waiting
            return waiting.id, waiting.put_back
        for run, (of_run, _, running) in self._running.items():
            if of_run == turn:
                return run.request, running.put_back
        return None

    def add(self, entry: Entry) -> None:
        """Let `entry` stand in the queue, by its turn."""
        self.by_turn[entry.turn] = entry
        insort(self._lines[entry.line], entry.turn)

    def position(self, entry: Entry) -> int:
        """Its place in its line; 1 for whoever is next."""
        return bisect_left(self._lines[entry.line], entry.turn) + 1

    def next_call(self) -> tuple[Entry, int, int] | None:
        """Whoever is to be looked at next, and from and to which minute; None when all is settled."""
        while self._called:
            turn = heappop(self._called)
            first, last = self._tries.pop(turn)
            if turn in self.by_turn:
                return self.by_turn[turn], first, last
        return None

    def call(self, turn: Turn, first: int = 0, last: int = FAR) -> None:
        """Have whoever has `turn` looked at, trying every start from `first` to `last`."""
        known = self._tries.get(turn)
        if known is None:
            heappush(self._called, turn)
            self._tries[turn] = (first, last)
        else:
            self._tries[turn] = (min(first, known[0]), max(last, known[1]))

    def move(self, entry: Entry, start: int | None, blocked: dict[str, tuple[int, int]]) -> None:
        """Place `entry` at `start`, and have all looked at whom that reaches.

        Args:
            entry: the request.
            start: its new place, or None.
            blocked: what kept it from starting sooner.
        """
        old = entry.start
        if start != old:
            self._shares(entry, hold=False)
            entry.start = start
            self._shares(entry, hold=True)
        for resource in entry.blocked.keys() - blocked.keys():
            self._blocked[resource].discard(entry.waiting.id)
        for resource in blocked.keys() - entry.blocked.keys():
            self._blocked[resource].add(entry.waiting.id)
        entry.blocked = blocked
        if start != old:
            if old is not None:
                self._freed(entry.waiting.uses, old, old + entry.length, entry.turn)
            if start is not None:
                self._taken(entry.waiting.uses, start, start + entry.length, entry.turn)

    def forget(self, entry: Entry) -> None:
        """Take `entry` out of its place and its turn."""
        self.move(entry, None, {})
        if self.by_turn.pop(entry.turn, None) is not None:
            line = self._lines[entry.line]
            del line[bisect_left(line, entry.turn)]

    def follow(self, queue: Queue) -> set[str]:
        """Take over what runs in `queue`; the resources on which that changed anything."""
        touched: set[str] = set()
        now = {running.run: running for running in queue.running}
        for run, (turn, end, running) in list(self._running.items()):
            following = now.get(run)
            if following is not None and following.uses == running.uses and _end(following, queue) == end:
                self._running[run] = (turn, end, following)
                continue
            touched.update(use.resource for use in running.uses)
            for use in running.uses:
                self._timelines[use.resource].release(Share(self._first, end, turn, use.amount))
            self._freed(running.uses, self._first, end, turn)
            del self._running[run]
        for running in queue.running:
            if running.run not in self._running:
                touched.update(use.resource for use in running.uses)
                self._add(running, queue)
        return touched

    def _add(self, running: Running, queue: Queue) -> None:
        end = _end(running, queue)
        turn = (0, 0, running.run.request.number, running.run.attempt)
        self._running[running.run] = (turn, end, running)
        for use in running.uses:
            self._timelines[use.resource].hold(Share(self._first, end, turn, use.amount))
        self._taken(running.uses, self._first, end, turn)

    def _shares(self, entry: Entry, *, hold: bool) -> None:
        start = entry.start
        if start is None:
            return
        for use in entry.waiting.uses:
            share = Share(start, start + entry.length, entry.turn, use.amount)
            timeline = self._timelines[use.resource]
            if hold:
                timeline.hold(share)
            else:
                timeline.release(share)

    def _freed(self, uses: tuple[Use, ...], start: int, end: int, turn: Turn) -> None:
        for use in uses:
            for request in self._blocked[use.resource]:
                entry = self.entries[request]
                blocked_from, blocked_to = entry.blocked[use.resource]
                first = start - entry.length + 1
                if entry.turn > turn and blocked_from < end and blocked_to > first:
                    self.call(entry.turn, first, end - 1)

    def _taken(self, uses: tuple[Use, ...], start: int, end: int, turn: Turn) -> None:
        for use in uses:
            for displaced in self._timelines[use.resource].displaced(start, end, turn):
                holder = self.by_turn.get(displaced)
                if holder is not None and holder.start is not None:
                    self.call(displaced, holder.start)


def _end(running: Running, queue: Queue) -> int:
    return minute(running.until if running.until > queue.now else queue.now + _OVERDUE)
