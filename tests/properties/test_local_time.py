"""Every zone, every change of the clocks from 2024 to 2032: one rule, and a brute-force witness for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import Refused
from policy.local_time import FURTHEST, for_people, gap_at, parse_when, resolve

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2033, 1, 1, tzinfo=UTC)
ZONES = sorted(name for name in available_timezones() if name != "localtime")
MINUTE = timedelta(minutes=1)


def changes(zone: ZoneInfo) -> list[datetime]:
    """Every instant between BEGIN and END at which the zone's offset changes, to the second."""
    found = []
    at, offset = BEGIN, BEGIN.astimezone(zone).utcoffset()
    while at < END:
        following = at + timedelta(days=4)
        if (then := following.astimezone(zone).utcoffset()) != offset:
            low, high = at, following
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                if middle.astimezone(zone).utcoffset() == offset:
                    low = middle
                else:
                    high = middle
            found.append(high)
            at, offset = high, high.astimezone(zone).utcoffset()
            continue
        at, offset = following, then
    return found


@cache
def all_changes() -> dict[str, list[datetime]]:
    return {name: found for name in ZONES if (found := changes(ZoneInfo(name)))}


def wall(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def witness(local: datetime, zone: ZoneInfo, around: datetime) -> datetime:
    """Walk the instants minute by minute; the first that shows `local`, or else the first beyond the jump."""
    at = around - timedelta(hours=30)
    if wall(at, zone) >= local:
        raise AssertionError("the walk must begin before the local time")
    while at < around + timedelta(hours=30):
        if wall(at, zone) >= local:
            return at
        at += MINUTE
    raise AssertionError("the walk must end after the local time")


def test_every_change_of_the_clocks_in_every_zone() -> None:
    seen = all_changes()
    assert len(seen) > 200, "the zone database must hold the zones that change their clocks"
    assert "Australia/Lord_Howe" in seen
    gaps = folds = 0
    for name, instants in seen.items():
        zone = ZoneInfo(name)
        for instant in instants:
            before = wall(instant - timedelta(seconds=1), zone) + timedelta(seconds=1)
            after = wall(instant, zone)
            if before < after:
                gaps += 1
                for skipped in (before, before + (after - before) / 2, after - timedelta(seconds=1)):
                    assert resolve(skipped, zone) == instant, (name, skipped)
                    gap = gap_at(skipped, zone)
                    assert gap is not None
                    assert gap == (before, after), (name, skipped)
                assert resolve(after, zone) == instant
            else:
                folds += 1
                for twice in (after, after + (before - after) / 2, before - timedelta(seconds=1)):
                    assert resolve(twice, zone) == instant - (before - twice), (name, twice)
                    assert gap_at(twice, zone) is None
                assert resolve(before, zone) == instant + (before - after)
            assert resolve(min(before, after) - MINUTE, zone) == instant - MINUTE - max(
                timedelta(0), before - after
            )
    assert gaps > 1500
    assert folds > 1500


@pytest.mark.parametrize(
    ("name", "local", "expected"),
    [
        ("America/Chicago", "2027-03-14 02:30", "2027-03-14 08:00"),
        ("America/Chicago", "2026-11-01 01:30", "2026-11-01 06:30"),
        ("Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03 15:30"),
        ("Australia/Lord_Howe", "2026-04-05 01:45", "2026-04-04 14:45"),
        ("America/Havana", "2027-03-14 00:00", "2027-03-14 05:00"),
        ("Africa/Cairo", "2027-04-30 00:30", "2027-04-29 22:00"),
        ("America/Santiago", "2026-09-06 00:00", "2026-09-06 04:00"),
        ("UTC", "2027-03-14 02:30", "2027-03-14 02:30"),
    ],
)
def test_known_days(name: str, local: str, expected: str) -> None:
    zone = ZoneInfo(name)
    found = resolve(datetime.fromisoformat(local), zone)
    assert found == datetime.fromisoformat(expected + "+00:00")


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_near_a_change_the_walk_agrees(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(all_changes())))
    zone = ZoneInfo(name)
    instant = data.draw(st.sampled_from(all_changes()[name])).replace(second=0)
    local = wall(instant, zone) + data.draw(st.integers(-180, 180)) * MINUTE
    assert resolve(local, zone) == witness(local, zone, instant)


@given(
    name=st.sampled_from(ZONES),
    early=st.datetimes(datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2032-12-31")),
    later=st.timedeltas(timedelta(0), timedelta(days=3)),
)
@settings(max_examples=300, deadline=None)
def test_existing_times_come_back_and_the_order_of_days_is_kept(
    name: str, early: datetime, later: timedelta
) -> None:
    zone = ZoneInfo(name)
    instant = resolve(early, zone)
    assert instant.utcoffset() == timedelta(0)
    if gap_at(early, zone) is None:
        assert wall(instant, zone) == early
    else:
        assert wall(instant, zone) > early
    # A local time more than the largest turn of the clocks later is never an earlier instant.
    assert resolve(early + later + timedelta(hours=25), zone) > instant


def test_an_aware_time_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        resolve(datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo("UTC"))


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CHICAGO = ZoneInfo("America/Chicago")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22 02:00", "2026-11-22T08:00+00:00"),
        ("2026-11-22T02:00", "2026-11-22T08:00+00:00"),
        (" 2026-11-22 02:00:30 ", "2026-11-22T08:00:30+00:00"),
        ("2026-11-22 02:00+01:00", "2026-11-22T01:00+00:00"),
        ("2026-11-22T02:00Z", "2026-11-22T02:00+00:00"),
        ("2027-11-07 01:30", "2027-11-07T06:30+00:00"),
    ],
)
def test_a_persons_time_is_read(text: str, expected: str) -> None:
    assert parse_when(text, CHICAGO, NOW) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("text", "zone", "words"),
    [
        ("2027-03-14 02:30", CHICAGO, "ask for 2027-03-14 01:59 or 2027-03-14 03:00"),
        ("2026-11-21 05:59", CHICAGO, "is past"),
        ("2026-11-22 02:00", None, "has no zone"),
        ("2028-11-22 02:00", CHICAGO, "more than 400 days ahead"),
        ("tomorrow", CHICAGO, "not a date and time"),
        ("2026-13-22 02:00", CHICAGO, "not a date and time"),
        ("2026-11-22 25:00", CHICAGO, "not a date and time"),
        ("2026-11-22", CHICAGO, "not a date and time"),
        ("2026-11-22 02:00+99:00", CHICAGO, "not a date and time"),
        ("2026-11-22 02:00\n", None, "has no zone"),
        ("٢٠٢٦-11-22 02:00", CHICAGO, "not a date and time"),
    ],
)
def test_a_persons_time_is_refused_with_the_reason(text: str, zone: ZoneInfo | None, words: str) -> None:
    with pytest.raises(Refused, match=r"^at: ") as refusal:
        parse_when(text, zone, NOW)
    assert words in str(refusal.value)


@given(text=st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        instant = parse_when(text, CHICAGO, NOW)
    except Refused:
        return
    assert NOW < instant <= NOW + FURTHEST


def test_times_are_shown_in_words_with_their_zone() -> None:
    at = datetime(2026, 11, 22, 8, tzinfo=UTC)
    assert for_people(at, CHICAGO) == "Sunday 22 November 2026, 02:00 CST (America/Chicago)"
    assert for_people(at, ZoneInfo("America/Sao_Paulo")).endswith("05:00 UTC-03 (America/Sao_Paulo)")
    assert for_people(at, None) == "Sunday 22 November 2026, 08:00 UTC"
