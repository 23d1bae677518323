"""When one request may begin, before anybody else is looked at: windows, freezes, deadlines.

Invariant: work that begins within a range that is given here ends, and could be put back, before the window
closes and before any freeze begins. Times are whole minutes; openings are rounded inwards.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from policy.waiting import Waiting
from policy.windows import Calendar

HORIZON = timedelta(days=400)
"""How far ahead a place is looked for."""
_MINUTE = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def minute(at: datetime) -> int:
    """The first whole minute at or after `at`."""
    return -((_EPOCH - at) // _MINUTE)


def minute_of(at: datetime) -> int:
    """The whole minute that `at` lies in."""
    return (at - _EPOCH) // _MINUTE


def minutes(length: timedelta) -> int:
    """A length in whole minutes, rounded up, at least one."""
    return max(1, -(-length // _MINUTE))


def instant(at: int) -> datetime:
    """The instant of a whole minute."""
    return _EPOCH + at * _MINUTE


class Opening(NamedTuple):
    """From `start` up to but not including `end`."""

    start: int
    end: int


class Range(NamedTuple):
    """Work may begin from `first` to `last`, both included; `opening` is where it then runs."""

    first: int
    last: int
    opening: Opening


class Openings:
    """A calendar in whole minutes, worked out once for all requests that share it."""

    def __init__(self, calendar: Calendar, now: datetime) -> None:
        """See only what has not ended before `now`, and up to the horizon."""
        self._calendar = calendar
        self._next = calendar.index(now)
        self._until = now + HORIZON
        self.until = minute(self._until)
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.longest = 0

    def at(self, index: int) -> Opening | None:
        """The opening at `index`, or None beyond the horizon."""
        while len(self._ends) <= index:
            span = self._calendar.span(self._next)
            if span is None or span.start >= self._until:
                return None
            self._next += 1
            start = minute(span.start)
            end = (span.end - _EPOCH) // _MINUTE
            if start < end:
                self._starts.append(start)
                self._ends.append(end)
                self.longest = max(self.longest, end - start)
        return Opening(self._starts[index], self._ends[index])

    def index(self, at: int) -> int:
        """The index of the first opening that ends after `at`."""
        while not self._ends or self._ends[-1] <= at:
            if self.at(len(self._ends)) is None:
                break
        return bisect_right(self._ends, at)


def ranges(waiting: Waiting, openings: Openings, earliest: int, needed: int) -> Iterator[Range]:
    """Where `waiting` may begin, from `earliest` on, in order.

    A start-by that has passed closes the night that it belonged to. Work in windows then waits for the next
    window that opens after it; work that needs none waits for the same time of a later day; work that can
    have neither has no range any more.
    """
    if waiting.calendar.windows is None and waiting.slot(0) is not None:
        yield from _in_slots(waiting, openings, earliest, needed)
        return
    start_by = None if waiting.start_by is None else (waiting.start_by - _EPOCH) // _MINUTE
    index = openings.index(earliest)
    while (opening := openings.at(index)) is not None:
        index += 1
        first, last = max(opening.start, earliest), opening.end - needed
        if start_by is not None and opening.start <= start_by:
            last = min(last, start_by)
        elif start_by is not None and waiting.calendar.windows is None:
            return
        if first <= last:
            yield Range(first, last, opening)


def _in_slots(waiting: Waiting, openings: Openings, earliest: int, needed: int) -> Iterator[Range]:
    number = 0
    if waiting.not_before is not None and waiting.slot(1) is not None:
        number = max(0, (earliest - minute(waiting.not_before)) // 1440 - 1)
    while (slot := waiting.slot(number)) is not None:
        number += 1
        opens, closes = max(minute(slot.opens), earliest), (slot.closes - _EPOCH) // _MINUTE
        if opens > openings.until:
            return
        if opens > closes:
            continue
        index = openings.index(opens)
        while (opening := openings.at(index)) is not None and opening.start <= closes:
            index += 1
            first, last = max(opening.start, opens), min(opening.end - needed, closes)
            if first <= last:
                yield Range(first, last, opening)
