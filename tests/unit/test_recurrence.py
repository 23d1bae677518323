"""Recurring refreshes: the right days in local time, and at most two skips in a row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import Refused
from policy.maintenance_window import Weekday
from policy.names import EmailAddress, SiteId
from policy.recurrence import MOST_SKIPS, Recurrence, Which

CHICAGO = ZoneInfo("America/Chicago")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def recurrence(
    which: Which = Which.FIRST, day: Weekday = Weekday.SAT, since: str = "2026-11-01"
) -> Recurrence:
    return Recurrence(
        site=SiteId.parse("lakeside/sandbox"),
        asked_by=EmailAddress("ann@lakeside.example.org"),
        which=which,
        day=day,
        start=time(2, 30),
        zone=CHICAGO,
        since=date.fromisoformat(since),
    )


@pytest.mark.parametrize(
    ("which", "day", "expected"),
    [
        (Which.FIRST, Weekday.SAT, ["2026-11-07", "2026-12-05", "2027-01-02"]),
        (Which.LAST, Weekday.MON, ["2026-11-30", "2026-12-28", "2027-01-25"]),
        (Which.FOURTH, Weekday.SUN, ["2026-11-22", "2026-12-27", "2027-01-24"]),
        (Which.EVERY, Weekday.WED, ["2026-11-04", "2026-11-11", "2026-11-18"]),
        (Which.EVERY_OTHER, Weekday.WED, ["2026-11-04", "2026-11-18", "2026-12-02"]),
    ],
)
def test_known_dates(which: Which, day: Weekday, expected: list[str]) -> None:
    assert [found.isoformat() for found in islice(recurrence(which, day).dates(), 3)] == expected


@given(
    which=st.sampled_from(Which),
    day=st.sampled_from(Weekday),
    since=st.dates(date(2024, 1, 1), date(2030, 1, 1)),
)
def test_the_days_are_of_that_name_in_order_and_one_a_month(which: Which, day: Weekday, since: date) -> None:
    found = list(islice(recurrence(which, day, since.isoformat()).dates(), 20))
    assert found == sorted(set(found))
    assert found[0] >= since
    assert {list(Weekday)[d.weekday()] for d in found} == {day}
    if which not in {Which.EVERY, Which.EVERY_OTHER}:
        months = [d.year * 12 + d.month for d in found]
        assert months == list(range(months[0], months[0] + 20))


def test_a_date_in_the_gap_of_the_clocks_begins_after_it() -> None:
    sunday = recurrence(Which.SECOND, Weekday.SUN, since="2027-03-01")
    ((day, at), *_) = sunday.due(NOW, datetime(2027, 3, 31, tzinfo=UTC))
    assert day == date(2027, 3, 14)
    assert at == datetime(2027, 3, 14, 8, tzinfo=UTC)


def test_due_dates_lie_after_one_instant_and_up_to_another() -> None:
    weekly = recurrence(Which.EVERY, Weekday.SUN)
    first = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
    assert [at for _, at in weekly.due(NOW, first)] == [first]
    assert weekly.due(first, first) == ()
    assert weekly.key(date(2026, 11, 22)) == "recurrence:lakeside/sandbox:every-sun:2026-11-22"


def test_at_most_two_in_a_row_are_skipped_in_whatever_order() -> None:
    weekly = recurrence(Which.EVERY, Weekday.SUN)
    once = weekly.skip(date(2026, 11, 29), NOW)
    assert date(2026, 11, 29) not in [day for day, _ in once.due(NOW, datetime(2026, 12, 31, tzinfo=UTC))]
    twice = once.skip(date(2026, 12, 13), NOW)
    with pytest.raises(Refused, match="at most 2 refreshes in a row"):
        twice.skip(date(2026, 12, 6), NOW)
    assert twice.skip(date(2026, 12, 20), NOW).skipped == {
        date(2026, 11, 29),
        date(2026, 12, 13),
        date(2026, 12, 20),
    }
    assert MOST_SKIPS == 2


@given(days=st.lists(st.integers(0, 12), max_size=12))
def test_no_order_of_skips_leaves_out_three_in_a_row(days: list[int]) -> None:
    weekly = recurrence(Which.EVERY, Weekday.SUN, since="2026-11-22")
    dates = list(islice(weekly.dates(), 14))
    for index in days:
        try:
            weekly = weekly.skip(dates[index], NOW)
        except Refused:
            continue
    rows = "".join("s" if day in weekly.skipped else "." for day in dates)
    assert "sss" not in rows


def test_a_skip_of_no_date_or_of_a_past_one_is_refused() -> None:
    weekly = recurrence(Which.EVERY, Weekday.SUN)
    with pytest.raises(Refused, match="it is on 2026-11-22, 2026-11-29, 2026-12-06"):
        weekly.skip(date(2026, 11, 23), NOW)
    with pytest.raises(Refused, match="has begun already"):
        weekly.skip(date(2026, 11, 15), NOW)


def test_it_ends_and_says_what_it_is() -> None:
    ended = replace(recurrence(), until=date(2026, 12, 31))
    assert [day.isoformat() for day in ended.dates()] == ["2026-11-07", "2026-12-05"]
    assert ended.sentence == "every first Saturday at 02:30 (America/Chicago)"
    assert recurrence(Which.EVERY_OTHER).sentence.startswith("every other Saturday")
