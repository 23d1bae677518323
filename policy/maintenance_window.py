"""When work may happen, as the estate's file declares it: windows, and the freezes that override them.

Invariant: every time is local to the zone beside it; `policy.windows` turns it into instants.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from policy.names import CustomerName, GroupName


class Weekday(StrEnum):
    """Days as written in the estate's file."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


@dataclass(frozen=True, kw_only=True)
class Window:
    """When upgrades of a customer or a group may happen, in local time.

    Attributes:
        start: local time at which the window opens on each of `days`.
        length: how long it stays open.
        valid_from: first local date on which it holds.
        valid_until: last local date, or None.
    """

    name: str
    zone: ZoneInfo
    days: frozenset[Weekday]
    start: time
    length: timedelta
    valid_from: date
    valid_until: date | None = None


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """A time in which nothing starts: for the whole estate (no names given), some groups or some customers.

    Attributes:
        first: first local date of the freeze, inclusive.
        last: last local date, inclusive.
        yearly: comes back on the same dates every year.
    """

    name: str
    zone: ZoneInfo
    first: date
    last: date
    reason: str
    yearly: bool = False
    customers: frozenset[CustomerName] = frozenset()
    groups: frozenset[GroupName] = frozenset()
