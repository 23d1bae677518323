"""Windows and freezes: in local time, in order, never inside a freeze, never the same instant twice."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import Refused
from policy.maintenance_window import Freeze, Weekday, Window
from policy.windows import Calendar, Override, Span, frozen, occurrences

CHICAGO = ZoneInfo("America/Chicago")
SINCE = datetime(2026, 11, 21, tzinfo=UTC)
ZONES = [
    ZoneInfo(name)
    for name in (
        "America/Chicago",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "America/Santiago",
        "Asia/Kathmandu",
        "Pacific/Kiritimati",
        "UTC",
    )
]


def window(
    days: frozenset[Weekday] = frozenset({Weekday.SUN}),
    start: time = time(4),
    length: timedelta = timedelta(hours=5),
    *,
    zone: ZoneInfo = CHICAGO,
    valid_from: date = date(2026, 1, 1),
    valid_until: date | None = None,
    name: str = "sunday",
) -> Window:
    return Window(
        name=name,
        zone=zone,
        days=days,
        start=start,
        length=length,
        valid_from=valid_from,
        valid_until=valid_until,
    )


windows = st.builds(
    window,
    days=st.frozensets(st.sampled_from(list(Weekday)), min_size=1),
    start=st.times().map(lambda t: t.replace(second=0, microsecond=0, tzinfo=None)),
    length=st.integers(15, 30 * 60).map(lambda minutes: timedelta(minutes=minutes)),
    zone=st.sampled_from(ZONES),
    valid_from=st.dates(date(2026, 1, 1), date(2027, 6, 1)),
    valid_until=st.none() | st.dates(date(2027, 1, 1), date(2028, 1, 1)),
)
freezes = st.builds(
    lambda zone, first, days, yearly: Freeze(
        name="freeze",
        zone=zone,
        first=first,
        last=first + timedelta(days=days),
        reason="year end",
        yearly=yearly,
    ),
    zone=st.sampled_from(ZONES),
    first=st.dates(date(2024, 1, 1), date(2027, 12, 31)),
    days=st.integers(0, 40),
    yearly=st.booleans(),
)


@given(windows=st.lists(windows, max_size=4), freezes=st.lists(freezes, max_size=3), probe=st.data())
@settings(max_examples=150, deadline=None)
def test_a_span_is_inside_a_window_and_outside_every_freeze(
    windows: list[Window], freezes: list[Freeze], probe: st.DataObject
) -> None:
    """The witness decides instant by instant from the local time alone."""
    calendar = Calendar(windows=windows, freezes=freezes, since=SINCE)
    until = SINCE + timedelta(days=200)
    spans = list(calendar.spans(SINCE, until))
    for earlier, later in pairwise(spans):
        assert earlier.end <= later.start
    for span in spans:
        assert span.start < span.end
    for _ in range(6):
        at = SINCE + timedelta(minutes=probe.draw(st.integers(0, 200 * 24 * 60)))
        inside = any(span.start <= at < span.end for span in spans)
        assert inside == (open_then(windows, at) and not frozen_then(freezes, at)), at
    for span in islice(spans, 4):
        assert open_then(windows, span.start)
        assert not frozen_then(freezes, span.start)
        assert not frozen_then(freezes, span.end - timedelta(minutes=1))


def open_then(windows: list[Window], at: datetime) -> bool:
    days = list(Weekday)
    for candidate in windows:
        local = at.astimezone(candidate.zone).date()
        for back in range(candidate.length.days + 3):
            day = local + timedelta(days=1 - back)
            if days[day.weekday()] not in candidate.days or day < candidate.valid_from:
                continue
            if candidate.valid_until is not None and day > candidate.valid_until:
                continue
            begins = datetime.combine(day, candidate.start)
            if reached(begins, at, candidate.zone) and not reached(
                begins + candidate.length, at, candidate.zone
            ):
                return True
    return False


def reached(local: datetime, at: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks of `zone` have shown `local` (or jumped over it) at or before `at`."""
    probe = at - timedelta(minutes=150)
    while probe <= at:
        if probe.astimezone(zone).replace(tzinfo=None, fold=0) >= local:
            return True
        probe += timedelta(minutes=1)
    return False


def frozen_then(freezes: list[Freeze], at: datetime) -> bool:
    for freeze in freezes:
        day = at.astimezone(freeze.zone).date()
        if not freeze.yearly:
            if freeze.first <= day <= freeze.last:
                return True
            continue
        length = freeze.last - freeze.first
        for back in range(length.days + 3):
            begin = day - timedelta(days=back)
            if begin >= freeze.first and in_yearly(freeze, begin, day):
                return True
    return False


def in_yearly(freeze: Freeze, begin: date, day: date) -> bool:
    if (begin.month, begin.day) != (freeze.first.month, freeze.first.day) and not (
        (freeze.first.month, freeze.first.day) == (2, 29)
        and (begin.month, begin.day) == (3, 1)
        and not leap(begin.year)
    ):
        return False
    year = begin.year + freeze.last.year - freeze.first.year
    if (freeze.last.month, freeze.last.day) == (2, 29) and not leap(year):
        last = date(year, 2, 28)
    else:
        last = freeze.last.replace(year=year)
    return begin <= day <= last


def leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def test_a_window_keeps_its_local_ends_when_the_clocks_change() -> None:
    night = window(frozenset({Weekday.SUN}), time(0, 30), timedelta(hours=3), name="night")
    spring = next(occurrences(night, datetime(2027, 3, 13, tzinfo=UTC)))
    assert spring.end - spring.start == timedelta(hours=2)
    assert spring.end.astimezone(CHICAGO).time() == time(3, 30)
    autumn = next(occurrences(night, datetime(2027, 11, 6, tzinfo=UTC)))
    assert autumn.end - autumn.start == timedelta(hours=4)
    assert autumn.end.astimezone(CHICAGO).time() == time(3, 30)


def test_a_window_that_opens_in_a_gap_opens_right_after_it() -> None:
    gap = window(frozenset({Weekday.SUN}), time(2, 15), timedelta(hours=2))
    span = next(occurrences(gap, datetime(2027, 3, 13, tzinfo=UTC)))
    assert span.start == datetime(2027, 3, 14, 8, tzinfo=UTC)
    swallowed = window(frozenset({Weekday.SUN}), time(2, 15), timedelta(minutes=30))
    span = next(occurrences(swallowed, datetime(2027, 3, 13, tzinfo=UTC)))
    assert span.start.astimezone(CHICAGO).date() == date(2027, 3, 21)


def test_valid_from_and_until_bound_a_window() -> None:
    bounded = window(valid_from=date(2026, 12, 1), valid_until=date(2026, 12, 20))
    found = [span.start.astimezone(CHICAGO).date() for span in occurrences(bounded, SINCE)]
    assert found == [date(2026, 12, 6), date(2026, 12, 13), date(2026, 12, 20)]


def test_a_yearly_freeze_crosses_new_year() -> None:
    freeze = Freeze(
        name="year end",
        zone=CHICAGO,
        first=date(2024, 12, 20),
        last=date(2025, 1, 3),
        reason="books close",
        yearly=True,
    )
    spans = list(islice(frozen(freeze, datetime(2027, 1, 2, tzinfo=UTC)), 2))
    assert [span.start.astimezone(CHICAGO).date() for span in spans] == [
        date(2026, 12, 20),
        date(2027, 12, 20),
    ]
    assert spans[0].end.astimezone(CHICAGO) == datetime(2027, 1, 4, tzinfo=CHICAGO)


def test_windows_without_a_break_and_windows_of_nothing_end() -> None:
    always = window(frozenset(Weekday), time(0), timedelta(days=1))
    calendar = Calendar(windows=[always], freezes=[], since=SINCE)
    first = calendar.span(0)
    assert first is not None
    assert first.end - first.start > timedelta(days=300)
    second = calendar.span(1)
    assert second is not None
    assert second.start == first.end
    assert Calendar(windows=[], freezes=[], since=SINCE).span(0) is None
    assert list(occurrences(window(length=timedelta(0)), SINCE)) == []


def test_no_window_needed_leaves_all_but_the_freezes() -> None:
    freeze = Freeze(
        name="audit", zone=ZoneInfo("UTC"), first=date(2026, 12, 1), last=date(2026, 12, 2), reason="audit"
    )
    calendar = Calendar(windows=None, freezes=[freeze], since=SINCE)
    assert calendar.span(0) == Span(SINCE, datetime(2026, 12, 1, tzinfo=UTC), "")
    assert calendar.index(datetime(2026, 12, 2, tzinfo=UTC)) == 1
    assert calendar.freeze_at(datetime(2026, 12, 2, 23, tzinfo=UTC)) == freeze
    assert calendar.freeze_at(datetime(2026, 12, 3, tzinfo=UTC)) is None


def test_an_override_without_a_reason_is_refused() -> None:
    with pytest.raises(Refused, match="override: say why"):
        Override(by="engineer@hosting.example.org", reason=" ", windows=True)
