"""One limited thing over time: who holds how much of it, and when enough of it is free.

Invariant: times are whole minutes. Every share is held in somebody's turn, and a question is always asked in
a turn: it sees the shares of earlier turns only, so that nobody is kept waiting by somebody behind them,
whatever order the timeline was filled in.

Things that few ever want are kept as a list of shares. Those that hundreds want also count, minute by minute,
how much is taken (`policy.minutes`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NamedTuple

from policy.minutes import MOST, Minutes

Turn = tuple[int, int, int, int]
"""Where somebody stands in the queue; smaller is earlier."""

NO_TURN: Turn = (-1, 0, 0, 0)
_STRETCH = 1440


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
            at = self._first_free_before(self._minutes, start, length, amount, limit, turn)
        return None if at is None else at + self._origin

    def overlapping(self, start: int, end: int) -> list[Share]:
        """Every share that is held at some time between `start` and `end`, by its start."""
        first = bisect_left(self._shares, (start - self._longest,))
        last = bisect_left(self._shares, (end,))
        return [share for share in self._shares[first:last] if share.end > start]

    def crowded(self, start: int, end: int) -> bool:
        """Whether more is held than there is at some time between `start` and `end`."""
        if self._minutes is not None:
            return self._minutes.exceeds(max(0, start - self._origin), max(0, end - self._origin))
        shares = self.overlapping(start, end)
        if sum(share.amount for share in shares) <= self.capacity:
            return False
        marks = {max(start, share.start) for share in shares}
        return any(
            sum(share.amount for share in shares if share.start <= mark < share.end) > self.capacity
            for mark in marks
        )

    def _count(self, share: Share, amount: int) -> None:
        if self._minutes is not None:
            low, high = max(0, share.start - self._origin), share.end - self._origin
            if low < high:
                self._minutes.add(low, high, amount)

    def _first_gap(self, start: int, length: int, amount: int, limit: int, turn: Turn) -> int | None:
        room = self.capacity - amount
        earlier = [share for share in self._shares if share.end > start and share.turn < turn]
        while start <= limit:
            end = start + length
            in_the_way = [share for share in earlier if share.start < end and share.end > start]
            crowd = _end_of_last_crowd(in_the_way, room)
            if crowd is None:
                return start
            start = crowd
        return None

    def _first_free_before(
        self, minutes: Minutes, start: int, length: int, amount: int, limit: int, turn: Turn
    ) -> int | None:
        """As `free_from`, among shares of later turns; they are taken out of a copy, a day at a time."""
        at, last = start - self._origin, limit - self._origin
        while at <= last:
            end = min(last, at + _STRETCH) + length
            part = minutes.copy(at, end)
            for share in self.overlapping(at + self._origin, end + self._origin):
                if share.turn >= turn:
                    low, high = share.start - self._origin - at, share.end - self._origin - at
                    part.add(max(0, low), min(high, end - at), -share.amount)
            found = part.first_free(0, length, amount, end - at - length)
            if found is not None:
                return at + found
            at = end - length + 1
        return None


def _end_of_last_crowd(shares: list[Share], room: int) -> int | None:
    """Among `shares` that all touch one stretch: when the last minute ends in which over `room` is taken.

    A share that outlasts the stretch touches its last minute, so that those which are held together later are
    held together in it already.
    """
    if sum(share.amount for share in shares) <= room:
        return None
    for end in sorted({share.end for share in shares}, reverse=True):
        if sum(share.amount for share in shares if share.start < end <= share.end) > room:
            return end
    return None
