"""When work may happen: windows and freezes as declared, turned into instants.

Invariant: a span lies inside one occurrence of a declared window, and touches no freeze; spans of a calendar
come in order and never overlap. A window is a promise in local time ("back by 09:00"), so both of its ends
are local times: on the day the clocks change it is shorter or longer than its declared length.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from policy.errors import Refused
from policy.estate import Estate
from policy.local_time import resolve
from policy.maintenance_window import Freeze, Weekday, Window
from policy.names import CustomerName

_DAY = timedelta(days=1)
_MIDNIGHT = time()
_WEEKDAYS = tuple(Weekday)
FOREVER = datetime(9000, 1, 1, tzinfo=UTC)
"""The end of a span that nothing bounds."""
_LONGEST = timedelta(days=400)
# Windows that follow each other without a break would be one span without end.


class Span(NamedTuple):
    """A stretch of time, aware UTC, without its last instant.

    Attributes:
        name: the window or freeze that it comes from.
    """

    start: datetime
    end: datetime
    name: str


@dataclass(frozen=True, kw_only=True)
class Override:
    """Leave to work outside the windows or inside a freeze. Who may give it says `policy.permissions`.

    Attributes:
        by: who gave it.
        reason: why, in plain words; kept with the request and shown.
    """

    by: str
    reason: str
    windows: bool = False
    freezes: bool = False

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise Refused("override: say why this may happen outside the windows or inside a freeze")


def occurrences(window: Window, after: datetime) -> Iterator[Span]:
    """Every occurrence of `window` that ends later than `after`, in order, without end."""
    if not window.days or window.length <= timedelta(0):
        return
    day = max(window.valid_from, after.astimezone(window.zone).date() - _days_of(window.length))
    while window.valid_until is None or day <= window.valid_until:
        if _WEEKDAYS[day.weekday()] in window.days:
            begins = datetime.combine(day, window.start)
            start = resolve(begins, window.zone)
            end = resolve(begins + window.length, window.zone)
            if end > after and start < end:
                yield Span(start, end, window.name)
        if day >= FOREVER.date():
            return
        day += _DAY


def frozen(freeze: Freeze, after: datetime) -> Iterator[Span]:
    """Every time that `freeze` covers and that ends later than `after`, in order."""
    year = freeze.first.year
    if freeze.yearly:
        length_in_years = freeze.last.year - freeze.first.year
        year = max(year, after.astimezone(freeze.zone).year - length_in_years - 1)
    while year < FOREVER.year:
        first = _in_year(freeze.first, year, up=True)
        last = _in_year(freeze.last, year + freeze.last.year - freeze.first.year, up=False)
        if first <= last:
            start = resolve(datetime.combine(first, _MIDNIGHT), freeze.zone)
            end = resolve(datetime.combine(last + _DAY, _MIDNIGHT), freeze.zone)
            if end > after:
                yield Span(start, end, freeze.name)
        if not freeze.yearly:
            return
        year += 1


def freezes_of(estate: Estate, customer: CustomerName) -> tuple[Freeze, ...]:
    """The freezes that hold for `customer`: its own, its group's and the whole estate's."""
    group = estate.customer(customer).group
    return tuple(
        freeze
        for freeze in estate.freezes
        if not (freeze.customers or freeze.groups) or customer in freeze.customers or group in freeze.groups
    )


class Calendar:
    """The times in which one customer's work may happen: windows (or all the time) without the freezes.

    Spans are worked out when they are asked for and then kept, so that thousands of requests of the same
    customer or group share the work.
    """

    def __init__(
        self,
        *,
        windows: Iterable[Window] | None,
        freezes: Iterable[Freeze],
        since: datetime,
    ) -> None:
        """Begin at `since`.

        Args:
            windows: None means that no window is needed; an empty one that nothing may ever happen.
            freezes: what is taken out.
            since: spans that ended before are left out.
        """
        self.windows = None if windows is None else tuple(windows)
        self.freezes = tuple(freezes)
        self._spans: list[Span] = []
        self._ends: list[datetime] = []
        self._more = _without(
            iter([Span(since, FOREVER, "")])
            if self.windows is None
            else _merged([occurrences(w, since) for w in self.windows]),
            _merged([frozen(f, since) for f in self.freezes]),
        )

    def span(self, index: int) -> Span | None:
        """The span at `index`, from 0, or None when there are no more."""
        while len(self._spans) <= index:
            following = next(self._more, None)
            if following is None:
                return None
            self._spans.append(following)
            self._ends.append(following.end)
        return self._spans[index]

    def index(self, at: datetime) -> int:
        """The index of the first span that ends later than `at`."""
        while not self._ends or self._ends[-1] <= at:
            if self.span(len(self._spans)) is None:
                break
        return bisect_right(self._ends, at)

    def spans(self, after: datetime, until: datetime) -> Iterator[Span]:
        """The spans that end later than `after` and begin before `until`."""
        index = self.index(after)
        while (span := self.span(index)) is not None and span.start < until:
            yield span
            index += 1

    def freeze_at(self, at: datetime) -> Freeze | None:
        """The freeze that covers `at`, if one does."""
        for freeze in self.freezes:
            covering = next(frozen(freeze, at), None)
            if covering is not None and covering.start <= at:
                return freeze
        return None


def _days_of(length: timedelta) -> timedelta:
    return timedelta(days=length.days + 1)


def _in_year(day: date, year: int, *, up: bool) -> date:
    try:
        return day.replace(year=year)
    except ValueError:  # 29 February: the freeze then begins on 1 March, or ends on 28 February
        return date(year, 3, 1) if up else date(year, 2, 28)


def _merged(streams: list[Iterator[Span]]) -> Iterator[Span]:
    """The spans of all `streams` in order; what overlaps or touches becomes one span, up to `_LONGEST`."""
    heads = [(span, stream) for stream in streams if (span := next(stream, None)) is not None]
    current: Span | None = None
    while heads:
        position = min(range(len(heads)), key=lambda i: heads[i][0][:2])
        span, stream = heads[position]
        following = next(stream, None)
        if following is None:
            heads.pop(position)
        else:
            heads[position] = (following, stream)
        if current is not None and span.start <= current.end:
            if span.end <= current.end:
                continue
            if span.end - current.start <= _LONGEST:
                current = current._replace(end=span.end)
                continue
            span = span._replace(start=current.end)
        if current is not None:
            yield current
        current = span
    if current is not None:
        yield current


def _without(spans: Iterator[Span], holes: Iterator[Span]) -> Iterator[Span]:
    """The parts of `spans` that no hole covers; both come in order and do not overlap."""
    hole = next(holes, None)
    for whole in spans:
        span = whole
        while hole is not None and hole.end <= span.start:
            hole = next(holes, None)
        while hole is not None and hole.start < span.end:
            if span.start < hole.start:
                yield span._replace(end=hole.start)
            span = span._replace(start=max(span.start, min(hole.end, span.end)))
            if hole.end > span.end:
                break
            hole = next(holes, None)
        if span.start < span.end:
            yield span
