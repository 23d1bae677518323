"""Looks at what a simulated Freshet did, without asking the planner.

Invariant: whatever is counted here is counted from what was really held and from the wall clock of the
window's zone. `broken` names rules that were broken, `missed` the windows that went by although the work
would have fitted.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

from policy.estate import Estate
from policy.maintenance_window import Weekday
from policy.names import RequestId
from policy.request import Kind
from policy.waiting import Use, Waiting, capacities_of

Held = dict[str, dict[RequestId, tuple[datetime, datetime, int]]]
"""Who holds how much of a resource, from when until when."""
_STEP = timedelta(minutes=5)
_ROUNDING = timedelta(minutes=1)
"""Dates are whole minutes; what would fit by seconds only is not counted."""
_KEPT = timedelta(days=30)
_DAYS = tuple(Weekday)


class Witness:
    """Keeps its own books of what is announced, under way and over."""

    def __init__(self, estate: Estate, away: tuple[tuple[datetime, datetime], ...] = ()) -> None:
        """Begin with nothing seen.

        Args:
            estate: windows and limits.
            away: when nothing was decided; a window in such a time is not counted as missed.
        """
        self.broken: Counter[str] = Counter()
        self.missed: list[tuple[RequestId, datetime]] = []
        self._estate, self._away = estate, away
        self._capacities = capacities_of(estate)
        self._live: dict[RequestId, Waiting] = {}
        self._held: Held = defaultdict(dict)
        self._past: Held = defaultdict(dict)

    def hold(self, waiting: Waiting, start: datetime, end: datetime) -> None:
        """`waiting` is announced for, or works, from `start` to `end`."""
        for use in waiting.uses:
            self._held[use.resource][waiting.id] = (start, end, use.amount)

    def drop(self, waiting: Waiting) -> None:
        """`waiting` has no date any more."""
        for use in waiting.uses:
            self._held[use.resource].pop(waiting.id, None)

    def begun(self, waiting: Waiting, start: datetime, end: datetime) -> None:
        """`waiting` works from `start`, as it seems until `end`."""
        self._live[waiting.id] = waiting
        self.hold(waiting, start, end)

    def ended(self, waiting: Waiting, start: datetime, end: datetime, now: datetime) -> None:
        """`waiting` worked from `start` to `end`."""
        self._live.pop(waiting.id, None)
        self.drop(waiting)
        for use in waiting.uses:
            past = self._past[use.resource]
            past[waiting.id] = (start, end, use.amount)
            while past and next(iter(past.values()))[1] < now - _KEPT:
                del past[next(iter(past))]

    def _miss(
        self, waiting: Waiting, now: datetime, start: datetime, opens: datetime, closes: datetime
    ) -> None:
        self.missed.append((waiting.id, opens))
        found = f"{opens} to {closes} was free; it got {start}"
        print(f"{waiting.id} at {now}: {found}: {waiting}", file=sys.stderr, flush=True)

    def _break(self, rule: str, waiting: Waiting, at: datetime) -> None:
        self.broken[rule] += 1
        print(f"{waiting.id} at {at}: {rule}: {waiting}", file=sys.stderr, flush=True)

    def look_at(self, waiting: Waiting, now: datetime, start_by: datetime | None, *, paused: bool) -> None:
        """Look at a run that is about to begin."""
        if waiting.id in self._live:
            self._break("two runs of one request", waiting, now)
        for use in waiting.uses:
            taken = sum(u.amount for w in self._live.values() for u in w.uses if u.resource == use.resource)
            if taken + use.amount > self._capacities.get(use.resource, 1):
                self._break(f"too many on one {use.resource.partition(':')[0]}", waiting, now)
        if paused:
            self._break("begun under a pause", waiting, now)
        if start_by is not None and now > start_by:
            self._break("begun after its start-by", waiting, now)
        if waiting.not_before is not None and now < waiting.not_before:
            self._break("begun too early", waiting, now)
        if waiting.kind is Kind.UPGRADE and not self._inside_window(waiting, now):
            self._break("outside its window", waiting, now)

    def look_ahead(self, waiting: Waiting, now: datetime, start: datetime) -> None:
        """A first date is announced: count earlier windows that have room beside all that is announced."""
        for opens, closes in self._hours(waiting, max(now, waiting.not_before or now), start - _STEP):
            if self._would_fit(waiting, now, opens, closes, [self._held]):
                self._miss(waiting, now, start, opens, closes)

    def look_back(self, waiting: Waiting, now: datetime, start: datetime) -> None:
        """A date is moved after it has come: count it if there was room beside what really ran."""
        date = waiting.confirmed
        if date is None or date > now:
            return
        for opens, closes in self._hours(waiting, date, min(now, start) - _STEP):
            if self._would_fit(waiting, now, opens, closes, [self._past, self._held]):
                self._miss(waiting, now, start, opens, closes)

    def _inside_window(self, waiting: Waiting, now: datetime) -> bool:
        """Whether the wall clock shows a time inside a declared window, with room for work and put-back."""
        done = now + waiting.expected + waiting.put_back
        for window in self._estate.windows(waiting.site.customer):
            begins, ends = (at.astimezone(window.zone).replace(tzinfo=None, fold=0) for at in (now, done))
            for back in (0, 1):
                day = begins.date() - timedelta(days=back)
                opens = datetime.combine(day, window.start)
                closes = opens + window.length
                if _DAYS[day.weekday()] in window.days and opens <= begins and ends <= closes:
                    return True
        return False

    def _hours(self, waiting: Waiting, first: datetime, last: datetime) -> list[tuple[datetime, datetime]]:
        """The starts, on whole minutes, that window, freeze and deadline allow between two instants."""
        needed = waiting.expected + waiting.put_back
        found = []
        for span in waiting.calendar.spans(first, last):
            opens, closes = _whole_minute(max(span.start, first)), min(span.end - needed, last)
            windowless = waiting.calendar.windows is None
            if waiting.start_by is not None and (windowless or span.start <= waiting.start_by):
                closes = min(closes, waiting.start_by)
            if opens <= closes and not any(a < closes + needed and opens < b for a, b in self._away):
                found.append((opens, closes))
        return found

    def _would_fit(
        self, waiting: Waiting, now: datetime, opens: datetime, closes: datetime, books: list[Held]
    ) -> bool:
        at = opens
        while at <= closes:
            if all(self._leaves_room(use, waiting, now, at, books) for use in waiting.uses):
                return True
            at += _STEP
        return False

    def _leaves_room(
        self, use: Use, waiting: Waiting, now: datetime, at: datetime, books: list[Held]
    ) -> bool:
        end = at + waiting.expected + _ROUNDING
        shares = [
            (begins, until, amount)
            for held in books
            for request, (begins, ends, amount) in held[use.resource].items()
            # Nobody knows when a run ends that takes longer than it seemed; nothing beside it counts as free.
            if (until := datetime.max.replace(tzinfo=UTC) if request in self._live and ends <= now else ends)
            and request != waiting.id
            and begins < end
            and until > at
        ]
        marks = [max(at, start) for start, _, _ in shares]
        room = self._capacities.get(use.resource, 1) - use.amount
        return all(sum(n for a, b, n in shares if a <= mark < b) <= room for mark in marks)


def _whole_minute(at: datetime) -> datetime:
    """The first whole minute that is not before `at`."""
    return at + (datetime.min.replace(tzinfo=at.tzinfo) - at) % _ROUNDING
