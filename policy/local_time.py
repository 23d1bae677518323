"""Between the local time that people write and the instant that machines keep.

Invariant: every local time has exactly one instant: one that the clocks skip becomes the first valid instant
after the gap, one that they show twice becomes the first. That rule serves windows and freezes, which are
declared once for years; a person who asks for a skipped time is refused instead (`parse_when`), because
nobody means it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from policy.errors import Refused

_ZERO = timedelta(0)
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_WHEN = re.compile(
    r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}(?::\d{2})?)(?: ?(Z|[+-](?:0\d|1[0-4]):[0-5]\d))?", re.ASCII
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

FURTHEST = timedelta(days=400)
"""How far ahead somebody may ask for a date; a typing error in the year is the usual reason to go beyond."""


class Gap(NamedTuple):
    """Local times that a zone's clocks skip: from `begins` up to but not including `ends`."""

    begins: datetime
    ends: datetime


def resolve(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant of the naive `local` time in `zone`, as aware UTC.

    Raises:
        ValueError: `local` is aware already.
    """
    _must_be_naive(local)
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None, fold=0) == local:
        return first
    return _end_of_gap(local, zone)


def gap_at(local: datetime, zone: ZoneInfo) -> Gap | None:
    """The gap that the naive `local` time falls into, or None when the time exists."""
    _must_be_naive(local)
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None, fold=0) == local:
        return None
    after = _end_of_gap(local, zone)
    last = after - timedelta.resolution
    return Gap(
        last.astimezone(zone).replace(tzinfo=None, fold=0) + timedelta.resolution,
        after.astimezone(zone).replace(tzinfo=None, fold=0),
    )


def parse_when(text: str, zone: ZoneInfo | None, now: datetime) -> datetime:
    """The instant that a person's `text` means, such as `2026-11-22 02:00`, as aware UTC.

    Args:
        text: a date and a time, perhaps with an offset such as `+01:00` or `Z`.
        zone: the person's own zone; an offset in `text` makes it unnecessary.
        now: the present instant.

    Raises:
        Refused: not a date and time, without a zone, skipped by the clocks, past, or too far ahead.
    """
    unreadable = Refused(
        "at: this is not a date and time; write it as 2026-11-22 02:00 in your own time zone"
    )
    match = _WHEN.fullmatch(text.strip())
    if match is None:
        raise unreadable
    day, clock, offset = match.groups()
    try:
        written = datetime.fromisoformat(f"{day}T{clock}{(offset or '').replace('Z', '+00:00')}")
    except ValueError:
        raise unreadable from None
    return instant_asked_for(written, zone, now)


def instant_asked_for(at: datetime, zone: ZoneInfo | None, now: datetime) -> datetime:
    """The instant of a preferred time that a person gave: naive in `zone`, or aware.

    Raises:
        Refused: without a zone, skipped by the clocks, past, or too far ahead.
    """
    if at.tzinfo is not None:
        instant = at.astimezone(UTC)
    elif zone is None:
        raise Refused(
            "at: the time has no zone; give one such as America/Chicago, or an offset such as -06:00"
        )
    else:
        gap = gap_at(at, zone)
        if gap is not None:
            raise Refused(_skipped(at, zone, gap))
        instant = resolve(at, zone)
    shown = for_people(instant, zone)
    if instant <= now:
        raise Refused(f"at: {shown} is past; it is now {for_people(now, zone)}; ask for a later time")
    if instant - now > FURTHEST:
        raise Refused(f"at: {shown} is more than {FURTHEST.days} days ahead; ask for an earlier date")
    return instant


def for_people(at: datetime, zone: ZoneInfo | None) -> str:
    """An instant as people read it: `Sunday 22 November 2026, 02:00 CST (America/Chicago)`."""
    if zone is None or zone.key == "UTC":
        return f"{day_for_people(at, None)}, {at.astimezone(UTC):%H:%M} UTC"
    return f"{day_for_people(at, zone)}, {clock_for_people(at, zone)} ({zone.key})"


def day_for_people(at: datetime, zone: ZoneInfo | None) -> str:
    """The local day of an instant: `Sunday 22 November 2026`, whatever the machine's language is."""
    local = at.astimezone(zone or UTC)
    return f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]} {local.year}"


def clock_for_people(at: datetime, zone: ZoneInfo) -> str:
    """The local time of day of an instant: `02:00 CST`, or `02:00 UTC-03` where a zone has no letters."""
    local = at.astimezone(zone)
    letters = local.tzname() or ""
    if not letters.isalpha():
        letters = f"UTC{letters}"
    return f"{local:%H:%M} {letters}"


def duration_for_people(length: timedelta) -> str:
    """A length of time in whole minutes, rounded up: `2 h 10 min`."""
    minutes = max(0, -(-length // _MINUTE))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 min"


def _must_be_naive(local: datetime) -> None:
    if local.tzinfo is not None:
        raise ValueError("a local time comes without a zone of its own")


def _end_of_gap(local: datetime, zone: ZoneInfo) -> datetime:
    # Python gives a skipped time the offset from before the gap when fold is 0 and the one from after it when
    # fold is 1; the instant at which the clocks jump lies between the two readings.
    late = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    early = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    offset = early.astimezone(zone).utcoffset()
    early = early.replace(microsecond=0)
    late = late.replace(microsecond=0) + _SECOND
    while late - early > _SECOND:
        middle = early + ((late - early) // 2 // _SECOND) * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            early = middle
        else:
            late = middle
    return late


def _skipped(local: datetime, zone: ZoneInfo, gap: Gap) -> str:
    before = gap.begins - _MINUTE
    return (
        f"at: {local:%Y-%m-%d %H:%M} does not exist in {zone.key}, because the clocks go from "
        f"{gap.begins:%H:%M} to {gap.ends:%H:%M} there; ask for {before:%Y-%m-%d %H:%M} or "
        f"{gap.ends:%Y-%m-%d %H:%M}"
    )
