"""Refreshes that come back: every first Saturday, every second Monday, with an honest way to skip one.

Invariant: a recurrence has one date for each month or week it covers, in the customer's local time, and the
request of a date is asked for once: the date names it. At most so many dates in a row may be skipped, so
that a training database never grows old unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from itertools import takewhile
from zoneinfo import ZoneInfo

from policy.errors import Refused
from policy.local_time import resolve
from policy.maintenance_window import Weekday
from policy.names import EmailAddress, SiteId

MOST_SKIPS = 2
"""How many dates in a row may be skipped."""
_WEEKDAYS = tuple(Weekday)
_WEEK = timedelta(days=7)


class Which(StrEnum):
    """Which of the days of that name."""

    EVERY = "every"
    EVERY_OTHER = "every-other"
    FIRST = "first"
    SECOND = "second"
    THIRD = "third"
    FOURTH = "fourth"
    LAST = "last"


_NTH = (Which.FIRST, Which.SECOND, Which.THIRD, Which.FOURTH)


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """A refresh that comes back.

    Attributes:
        start: local time in `zone`.
        since: the first local date on which it may fall; of `every-other` weeks the first one that counts.
        until: the last, or None.
        skipped: dates that somebody asked to leave out.
    """

    site: SiteId
    asked_by: EmailAddress
    which: Which
    day: Weekday
    start: time
    zone: ZoneInfo
    since: date
    until: date | None = None
    skipped: frozenset[date] = frozenset()

    def dates(self) -> Iterator[date]:
        """Every date on which it falls, skipped ones included, in order and without end."""
        if self.which in {Which.EVERY, Which.EVERY_OTHER}:
            step = _WEEK if self.which is Which.EVERY else 2 * _WEEK
            found = _weekly(_on_or_after(self.since, self.day), step)
        else:
            found = self._monthly()
        yield from takewhile(lambda day: self.until is None or day <= self.until, found)

    def due(self, after: datetime, until: datetime) -> tuple[tuple[date, datetime], ...]:
        """The dates that are to be carried out after one instant and up to another, with their starts."""
        found = []
        for day in self.dates():
            at = resolve(datetime.combine(day, self.start), self.zone)
            if at > until:
                break
            if at > after and day not in self.skipped:
                found.append((day, at))
        return tuple(found)

    def skip(self, day: date, now: datetime) -> Recurrence:
        """The same recurrence without `day`.

        Raises:
            Refused: it does not fall on that day, the day has come, or too many in a row would be left out.
        """
        if day not in set(takewhile(lambda found: found <= day, self.dates())):
            raise Refused(f"date: {self.site} is not refreshed on {day}; it is on {self._ahead(now)}")
        if resolve(datetime.combine(day, self.start), self.zone) <= now:
            raise Refused(f"date: the refresh of {day} has begun already; it is next on {self._ahead(now)}")
        without = self.skipped | {day}
        if self._longest_gap(without, day) > MOST_SKIPS:
            raise Refused(
                f"date: at most {MOST_SKIPS} refreshes in a row may be skipped; let the one of {day} happen, "
                "or end the recurrence"
            )
        return replace(self, skipped=without)

    def key(self, day: date) -> str:
        """Names the request of one date, so that it is asked for once."""
        return f"recurrence:{self.site}:{self.which}-{self.day}:{day.isoformat()}"

    @property
    def sentence(self) -> str:
        """What it is, in plain words."""
        names = dict(zip(Weekday, _FULL_NAMES, strict=True))
        which = {Which.EVERY: "every", Which.EVERY_OTHER: "every other"}.get(
            self.which, f"every {self.which.value}"
        )
        return f"{which} {names[self.day]} at {self.start:%H:%M} ({self.zone.key})"

    def _monthly(self) -> Iterator[date]:
        month = self.since.year * 12 + self.since.month - 1
        while month < date.max.year * 12:
            day = _of_month(month // 12, month % 12 + 1, self.which, self.day)
            if day >= self.since:
                yield day
            month += 1

    def _longest_gap(self, skipped: frozenset[date], around: date) -> int:
        """The longest row of skipped dates; rows end before the first date that is neither."""
        longest = row = 0
        for day in self.dates():
            row = row + 1 if day in skipped else 0
            longest = max(longest, row)
            if day > around and row == 0:
                break
        return longest

    def _ahead(self, now: datetime) -> str:
        local = now.astimezone(self.zone).date()
        following = [day for day in _first(self.dates(), local, 3) if day not in self.skipped]
        return ", ".join(day.isoformat() for day in following) or "no later date"


_FULL_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _first(dates: Iterator[date], after: date, count: int) -> list[date]:
    found: list[date] = []
    for day in dates:
        if day > after:
            found.append(day)
            if len(found) == count:
                break
    return found


def _on_or_after(day: date, weekday: Weekday) -> date:
    return day + timedelta(days=(_WEEKDAYS.index(weekday) - day.weekday()) % 7)


def _weekly(day: date, step: timedelta) -> Iterator[date]:
    while day < date.max - step:
        yield day
        day += step


def _of_month(year: int, month: int, which: Which, weekday: Weekday) -> date:
    first = _on_or_after(date(year, month, 1), weekday)
    if which is not Which.LAST:
        return first + _NTH.index(which) * _WEEK
    last = first + 4 * _WEEK
    return last if last.month == month else first + 3 * _WEEK
