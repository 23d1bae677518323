"""What people are reminded of: dates that are near, undo periods that end, the week's requests.

Invariant: it only reads; which notice is due, and its key, decides `policy.reminders`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from infra.ledger.connection import Connection
from infra.ledger.requests import from_row
from policy.request import Request


@dataclass(frozen=True, kw_only=True)
class Dated:
    """A scheduled request with what was told with its date.

    Attributes:
        told_at: when the present date was told.
        expected: how long the work was expected to take.
    """

    request: Request
    told_at: datetime | None
    expected: timedelta | None


@dataclass(frozen=True, kw_only=True)
class Undoable:
    """A finished refresh that nobody undid or asked to undo, and when it was done."""

    request: Request
    ended_at: datetime


def dates(connection: Connection, *, after: datetime, until: datetime) -> list[Dated]:
    """The scheduled requests that begin after one instant and by another."""
    rows = connection.execute(
        "select request.*, told.at as told_at, told.expected_s from request left join lateral ("
        "  select at, (detail->>'expected_s')::double precision as expected_s from event"
        "  where event.request = request.number and verb in ('schedule', 'move') order by id desc limit 1"
        " ) as told on true"
        " where status = 'Scheduled' and scheduled_for > %s and scheduled_for <= %s order by number",
        (after, until),
    ).fetchall()
    found = []
    for row in rows:
        cell: dict[str, Any] = dict(row)
        took = cell["expected_s"]
        found.append(
            Dated(
                request=from_row(row),
                told_at=cell["told_at"],
                expected=None if took is None else timedelta(seconds=took),
            )
        )
    return found


def undoable(connection: Connection, *, after: datetime, until: datetime) -> list[Undoable]:
    """The refreshes that were done after one instant and by another, and still stand."""
    rows = connection.execute(
        "select request.*, run.ended_at as done_at from request join run on run.request = request.number"
        " and run.state = 'ended' and run.attempt = request.attempt"
        " where kind = 'refresh' and outcome = 'done' and run.ended_at > %s and run.ended_at <= %s"
        " and not exists (select from request later join run after on after.request = later.number"
        "   where later.site = request.site and later.number <> request.number and later.outcome = 'done'"
        "   and after.ended_at > run.ended_at)"
        " and not exists (select from request undo where undo.undoes = request.number"
        "   and undo.outcome is null) order by request.number",
        (after, until),
    ).fetchall()
    found = []
    for row in rows:
        cell: dict[str, Any] = dict(row)
        found.append(Undoable(request=from_row(row), ended_at=cell["done_at"]))
    return found


def of_the_week(connection: Connection, *, since: datetime) -> list[Request]:
    """The open requests, and those that ended after `since`."""
    rows = connection.execute(
        "select * from request where deleted_at is null and (outcome is null or exists ("
        "  select from event where event.request = request.number and event.outcome is not null"
        "  and event.at > %s)) order by number",
        (since,),
    ).fetchall()
    return [from_row(row) for row in rows]


def unknown(connection: Connection, keys: Collection[str]) -> frozenset[str]:
    """Those of `keys` that the outbox does not hold, sent or not."""
    rows = connection.execute("select key from outbox where key = any(%s)", (list(keys),)).fetchall()
    return frozenset(keys) - {str(row["key"]) for row in rows}
