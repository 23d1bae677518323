"""Recurring refreshes in the ledger, and what became of each of their dates.

Invariant: a site has at most one recurrence that has not ended; a date of it has at most one request.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from infra.ledger.connection import Connection, Row
from policy.errors import Refused
from policy.maintenance_window import Weekday
from policy.names import EmailAddress, RequestId, SiteId
from policy.recurrence import Recurrence, Which


@dataclass(frozen=True, kw_only=True)
class KeptRecurrence:
    """A recurrence with its number in the ledger."""

    id: int
    recurrence: Recurrence


@dataclass(frozen=True, kw_only=True)
class KeptDate:
    """What became of one date.

    Attributes:
        reason: why it could not be asked for so far; empty when it was.
    """

    day: date
    request: RequestId | None
    reason: str


def add(connection: Connection, recurrence: Recurrence, *, at: datetime) -> KeptRecurrence:
    """Write a new recurrence.

    Raises:
        Refused: the site has one already.
    """
    try:
        row = connection.execute(
            "insert into recurrence (customer, environment, asked_by, which, day, start, zone, since, until,"
            " made_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning *",
            (
                recurrence.site.customer,
                recurrence.site.environment.value,
                recurrence.asked_by,
                recurrence.which.value,
                recurrence.day.value,
                recurrence.start,
                recurrence.zone.key,
                recurrence.since,
                recurrence.until,
                at,
            ),
        ).fetchone()
    except psycopg.errors.UniqueViolation as error:
        raise Refused(
            f"site: {recurrence.site} has a recurring refresh already; end that one first with "
            "`freshet recurring end`"
        ) from error
    return _kept(row or {})


def every(connection: Connection) -> list[KeptRecurrence]:
    """The recurrences that have not ended, in the order in which they were made."""
    rows = connection.execute("select * from recurrence where ended_at is null order by id").fetchall()
    return [_kept(row) for row in rows]


def of_site(connection: Connection, site: SiteId) -> KeptRecurrence:
    """The recurrence of `site`, held until the transaction ends.

    Raises:
        Refused: it has none.
    """
    row = connection.execute(
        "select * from recurrence where customer = %s and environment = %s and ended_at is null for update",
        (site.customer, site.environment.value),
    ).fetchone()
    if row is None:
        raise Refused(
            f"site: {site} has no recurring refresh; `freshet recurring list` shows those there are"
        )
    return _kept(row)


def hold(connection: Connection, number: int) -> bool:
    """Hold the recurrence until the transaction ends; False when another dispatcher holds it, or it ended."""
    row = connection.execute(
        "select id from recurrence where id = %s and ended_at is null for update skip locked", (number,)
    ).fetchone()
    return row is not None


def skip(connection: Connection, number: int, recurrence: Recurrence) -> None:
    """Write the dates that `recurrence` now leaves out."""
    connection.execute(
        "update recurrence set skipped = %s where id = %s", (sorted(recurrence.skipped), number)
    )


def end(connection: Connection, number: int, *, at: datetime) -> None:
    """No further date is asked for."""
    connection.execute("update recurrence set ended_at = %s where id = %s", (at, number))


def dates(connection: Connection, number: int) -> dict[date, KeptDate]:
    """What became of the dates so far."""
    rows = connection.execute(
        "select day, request, reason from recurrence_date where recurrence = %s order by day", (number,)
    ).fetchall()
    found = {}
    for row in rows:
        cell: dict[str, Any] = dict(row)
        request = None if cell["request"] is None else RequestId.of(cell["request"])
        found[cell["day"]] = KeptDate(day=cell["day"], request=request, reason=cell["reason"])
    return found


def note(connection: Connection, number: int, became: KeptDate) -> None:
    """Write what became of a date."""
    connection.execute(
        "insert into recurrence_date (recurrence, day, request, reason) values (%s, %s, %s, %s)"
        " on conflict (recurrence, day) do update set request = excluded.request, reason = excluded.reason",
        (
            number,
            became.day,
            None if became.request is None else became.request.number,
            became.reason,
        ),
    )


def _kept(row: Row) -> KeptRecurrence:
    cell: dict[str, Any] = dict(row)
    return KeptRecurrence(
        id=cell["id"],
        recurrence=Recurrence(
            site=SiteId.parse(f"{cell['customer']}/{cell['environment']}"),
            asked_by=EmailAddress(cell["asked_by"]),
            which=Which(cell["which"]),
            day=Weekday(cell["day"]),
            start=cell["start"],
            zone=ZoneInfo(cell["zone"]),
            since=cell["since"],
            until=cell["until"],
            skipped=frozenset(cell["skipped"]),
        ),
    )
