"""One limited thing over time: who holds how much of it, and when enough of it is free.

Invariant: times are whole minutes. Every share is held in somebody's turn, and a question is always asked in
a turn: it sees the shares of earlier turns only, so that nobody is kept waiting by somebody behind them,
whatever order the timeline was filled in.

Things that few ever want are kept as a list of shares. Those that hundreds want also count, minute by minute,
how much is taken (`policy.minutes`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import accumulate
from typing import NamedTuple

from policy.minutes import MOST, Minutes, first_clear

Turn = tuple[int, int, int, int]
"""Where somebody stands in the queue; smaller is earlier."""

NO_TURN: Turn = (-1, 0, 0, 0)
_STRETCH = 60


class Share(NamedTuple):
    """`amount` of a thing, held from `start` up to but not including `end`."""

    start: int
    end: int
    turn: Turn
    amount: int


class Timeline:
    """A thing of which `capacity` shares can be held at once."""

    def __init__(self, capacity: int, origin: int, *, busy: bool) -> None:
        """Begin empty.

        Args:
            capacity: how much of it there is.
            origin: the first minute that matters.
            busy: many will want it, so that counting by the minute pays.

        Raises:
            ValueError: the capacity cannot be counted.
        """
        if not 0 <= capacity <= MOST:
            raise ValueError(f"a capacity of {capacity} is not between 0 and {MOST}")
        self.capacity = capacity
        self._origin = origin
        self._shares: list[Share] = []
        self._longest = 0
        self._latest = NO_TURN
        self._minutes = Minutes(capacity) if busy else None

    def hold(self, share: Share) -> None:
        """Note that `share` is held, also when that is more than there is."""
        insort(self._shares, share)
        self._longest = max(self._longest, share.end - share.start)
        self._latest = max(self._latest, share.turn)
        self._count(share, share.amount)

    def release(self, share: Share) -> None:
        """Give `share` back.

        Raises:
            KeyError: it is not held.
        """
        index = bisect_left(self._shares, share)
        if index == len(self._shares) or self._shares[index] != share:
            raise KeyError(share)
        del self._shares[index]
        self._count(share, -share.amount)

    def free_from(self, start: int, length: int, amount: int, limit: int, turn: Turn) -> int | None:
        """The first minute from `start` to `limit` at which `amount` is free for `length` minutes.

        Only shares of turns before `turn` are in the way. None when there is no such minute.
        """
        if amount > self.capacity:
            return None
        if self._minutes is None:
            return self._first_gap(start, length, amount, limit, turn)
        at = self._minutes.first_free(start - self._origin, length, amount, limit - self._origin)
        if turn <= self._latest and at != start - self._origin:
            return self._first_free_before(start, length, amount, limit, turn)
        return None if at is None else at + self._origin

    def overlapping(self, start: int, end: int) -> list[Share]:
        """Every share that is held at some time between `start` and `end`, by its start."""
        shares = self._shares
        first = bisect_left(shares, (start - self._longest,))
        if first == len(shares) or shares[first].start >= end:
            return []
        last = bisect_left(shares, (end,), first)
        return [share for share in shares[first:last] if share.end > start]

    def displaced(self, start: int, end: int, turn: Turn) -> list[Turn]:
        """The turns after `turn` for whose shares there is no room between `start` and `end`."""
        if turn >= self._latest:
            return []
        shares = self.overlapping(start, end)
        if self._minutes is not None:
            load = self._minutes.copy(start - self._origin, end - self._origin)
        elif sum([share.amount for share in shares]) <= self.capacity:
            return []
        else:
            load = Minutes(self.capacity)
            for share in shares:
                load.add(max(0, share.start - start), min(share.end, end) - start, share.amount)
        found = []
        # From the back of the queue: whoever covers a crowded minute gives way, until nothing is crowded.
        if not load.exceeds(0, end - start):
            return []
        for share in sorted(shares, key=lambda share: share.turn, reverse=True):
            if share.turn <= turn or not load.exceeds(0, end - start):
                break
            low, high = max(0, share.start - start), min(share.end, end) - start
            if load.exceeds(low, high):
                found.append(share.turn)
                load.add(low, high, -share.amount)
        return found

    def _count(self, share: Share, amount: int) -> None:
        if self._minutes is not None:
            low, high = max(0, share.start - self._origin), share.end - self._origin
            if low < high:
                self._minutes.add(low, high, amount)

    def _first_gap(self, start: int, length: int, amount: int, limit: int, turn: Turn) -> int | None:
        room = self.capacity - amount
        while start <= limit:
            in_the_way = [share for share in self.overlapping(start, start + length) if share.turn < turn]
            crowd = _end_of_last_crowd(in_the_way, room) if in_the_way else None
            if crowd is None:
                return start
            start = crowd
        return None

    def _first_free_before(self, start: int, length: int, amount: int, limit: int, turn: Turn) -> int | None:
        """As `free_from`, where many shares of later turns are held as well; a stretch at a time."""
        room, stretch = self.capacity - amount, _STRETCH
        while start <= limit:
            last = min(limit, start + stretch)
            end = last + length
            change = [0] * (end - start + 1)
            for share in self.overlapping(start, end):
                if share.turn < turn:
                    change[max(0, share.start - start)] += share.amount
                    change[min(end, share.end) - start] -= share.amount
            full = bytes([taken > room for taken in accumulate(change)])
            found = first_clear(full, 0, length, last - start)
            if found is not None:
                return start + found
            start, stretch = last + 1, 2 * stretch
        return None


def _end_of_last_crowd(shares: list[Share], room: int) -> int | None:
    """Among `shares` that all touch one stretch: when the last minute ends in which over `room` is taken.

    A share that outlasts the stretch touches its last minute, so that those which are held together later are
    held together in it already.
    """
    if len(shares) == 1:
        return shares[0].end if shares[0].amount > room else None
    if sum([share.amount for share in shares]) <= room:
        return None
    for end in sorted({share.end for share in shares}, reverse=True):
        if sum([share.amount for share in shares if share.start < end <= share.end]) > room:
            return end
    return None
