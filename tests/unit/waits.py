"""Requests that wait for a place in the queue, each as most tests leave it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from policy.names import RequestId, SiteId
from policy.request import Kind
from policy.waiting import Use, Waiting
from policy.windows import Calendar
from tests.estate_parts import CHICAGO

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
"""A Saturday, 06:00 in Chicago."""

HOUR = timedelta(hours=1)
TRIAL = Use("server:trial")
ALWAYS = Calendar(windows=None, freezes=(), since=NOW - timedelta(days=1))


def wait(number: int, **changes: object) -> Waiting:
    """The refresh with this number, which takes an hour and a slot of one server."""
    plain = Waiting(
        id=RequestId.of(number),
        kind=Kind.REFRESH,
        site=SiteId.parse("lakeside/staging"),
        asked_at=NOW - timedelta(days=1) + timedelta(minutes=number),
        uses=(TRIAL,),
        likely=HOUR / 2,
        expected=HOUR,
        put_back=HOUR / 4,
        calendar=ALWAYS,
        zone=CHICAGO,
        scopes=frozenset({"all"}),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # any field
