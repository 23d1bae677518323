"""Requests in the ledger: written once, then moved only along the lifecycle's table.

Invariant: every change of a status writes its event in the same transaction; a lost race is `Busy`, never a
lost request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString

import psycopg

from infra.ledger.connection import Connection, Row
from policy.engine_version import EngineVersion
from policy.errors import Busy, Refused
from policy.names import EmailAddress, RequestId, SiteId, Version
from policy.request import Kind, Outcome, Request, Status


def from_row(row: Row) -> Request:
    """The request that a row of `request` holds."""
    cell: dict[str, Any] = dict(row)
    return Request(
        id=RequestId.of(cell["number"]),
        kind=Kind(cell["kind"]),
        site=SiteId.parse(cell["site"]),
        version=_version(Kind(cell["kind"]), cell["version"]),
        refresh=cell["refresh"],
        asked_by=EmailAddress(cell["asked_by"]),
        asked_at=cell["asked_at"],
        not_before=cell["not_before"],
        start_by=cell["start_by"],
        scheduled_for=cell["scheduled_for"],
        status=Status(cell["status"]),
        outcome=None if cell["outcome"] is None else Outcome(cell["outcome"]),
        attempt=cell["attempt"],
        undoes=None if cell["undoes"] is None else RequestId.of(cell["undoes"]),
        campaign=cell["campaign"],
        reason=cell["reason"],
    )


def _version(kind: Kind, text: str | None) -> Version | None:
    if text is None:
        return None
    return EngineVersion(text) if kind is Kind.ENGINE else Version(text)


def next_number(connection: Connection) -> RequestId:
    """A number that no other request has or gets."""
    row = connection.execute(
        "select nextval(pg_get_serial_sequence('request', 'number'))::integer as number"
    ).fetchone()
    if row is None:
        raise Busy("the ledger gave no number; try again")
    return RequestId.of(int(str(row["number"])))


def insert(connection: Connection, wanted: Request, *, webapp: str, note: str = "") -> Request:
    """Write a new request, To Be Scheduled.

    Args:
        connection: a transaction of the ledger.
        wanted: with a number from `next_number`; nothing has happened to it.
        webapp: the key of the web application that serves its site.
        note: the asker's own words.

    Raises:
        Refused: the site already has a waiting request of this kind.
    """
    try:
        row = connection.execute(
            "insert into request (number, kind, customer, environment, webapp, version, refresh, asked_by,"
            " asked_at, not_before, start_by, undoes, campaign, note)"
            " overriding system value"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning *",
            (
                wanted.id.number,
                wanted.kind.value,
                wanted.site.customer,
                wanted.site.environment.value,
                webapp,
                wanted.version,
                wanted.refresh,
                wanted.asked_by,
                wanted.asked_at,
                wanted.not_before,
                wanted.start_by,
                None if wanted.undoes is None else wanted.undoes.number,
                wanted.campaign,
                note,
            ),
        ).fetchone()
    except psycopg.errors.UniqueViolation as error:
        raise Refused(
            f"site: {wanted.site} already has a waiting {wanted.kind.value} request; "
            "cancel or reschedule that one"
        ) from error
    if row is None:
        raise Busy("the ledger took the request but did not return it; try again")
    return from_row(row)


def get(connection: Connection, request: RequestId, *, lock: bool = False) -> Request:
    """The request `request`; with `lock` no other transaction changes it until this one ends.

    Raises:
        Refused: there is no such request.
    """
    statement: LiteralString = "select * from request where number = %s"
    if lock:
        statement += " for update"
    row = connection.execute(statement, (request.number,)).fetchone()
    if row is None:
        raise Refused(f"request: there is no {request}; `freshet request list` shows those there are")
    return from_row(row)


def find(
    connection: Connection,
    *,
    statuses: Sequence[Status] = (),
    site: SiteId | None = None,
    open_only: bool = False,
    limit: int = 10_000,
) -> list[Request]:
    """Requests in the order in which they were asked for, deleted ones left out."""
    rows = connection.execute(
        "select * from request where deleted_at is null"
        " and (%(any_status)s or status = any(%(statuses)s))"
        " and (%(site)s::text is null or site = %(site)s)"
        " and (not %(open_only)s or outcome is null)"
        " order by number limit %(limit)s",
        {
            "any_status": not statuses,
            "statuses": [status.value for status in statuses],
            "site": None if site is None else str(site),
            "open_only": open_only,
            "limit": limit,
        },
    ).fetchall()
    return [from_row(row) for row in rows]


def done_since(connection: Connection, refresh: Request) -> Request | None:
    """The newest request that changed the site's database after `refresh` was done, if any."""
    row = connection.execute(
        "select later.* from request later join run on run.request = later.number and run.state = 'ended'"
        " where later.outcome = 'done' and later.number <> %(number)s"
        " and (later.undoes = %(number)s or (later.webapp = %(webapp)s"
        "   and (later.site = %(site)s or later.kind in ('upgrade', 'engine'))"
        "   and run.ended_at > (select max(ended_at) from run where request = %(number)s)))"
        " order by run.ended_at desc limit 1",
        {"number": refresh.id.number, "site": str(refresh.site), "webapp": _webapp(connection, refresh)},
    ).fetchone()
    return None if row is None else from_row(row)


def _webapp(connection: Connection, request: Request) -> str:
    row = connection.execute("select webapp from request where number = %s", (request.id.number,)).fetchone()
    return "" if row is None else str(row["webapp"])


def update(connection: Connection, request: RequestId, columns: Mapping[str, object]) -> None:
    """Set `columns` of a request; the database refuses a status that the lifecycle does not lead to.

    Raises:
        Refused: it would wait beside another request of its kind for the same site.
    """
    assignments = psycopg.sql.SQL(", ").join(
        psycopg.sql.SQL("{} = {}").format(psycopg.sql.Identifier(name), psycopg.sql.Placeholder(name))
        for name in columns
    )
    statement = psycopg.sql.SQL("update request set {} where number = {}").format(
        assignments, psycopg.sql.Placeholder("the_number")
    )
    values = {
        name: value.value if isinstance(value, Status | Outcome) else value for name, value in columns.items()
    }
    try:
        connection.execute(statement, {**values, "the_number": request.number})
    except psycopg.errors.UniqueViolation as error:
        raise Refused(
            f"request: another request of the kind of {request} waits for its site; end that one first"
        ) from error


def write_event(
    connection: Connection,
    *,
    at: datetime,
    verb: str,
    actor: str,
    request: RequestId | None = None,
    run: str | None = None,
    before: Status | None = None,
    after: Status | None = None,
    outcome: Outcome | None = None,
    reason: str = "",
    detail: Mapping[str, object] | None = None,
) -> int:
    """Append one event and return its number."""
    row = connection.execute(
        "insert into event (at, request, run, verb, actor, from_status, to_status, outcome, reason, detail)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning id",
        (
            at,
            None if request is None else request.number,
            run,
            verb,
            actor,
            None if before is None else before.value,
            None if after is None else after.value,
            None if outcome is None else outcome.value,
            reason,
            json.dumps(detail or {}),
        ),
    ).fetchone()
    if row is None:
        raise Busy("the ledger took the event but did not say its number; try again")
    return int(str(row["id"]))


def events(connection: Connection, request: RequestId) -> list[Row]:
    """All that happened to `request`, oldest first."""
    return connection.execute(
        "select id, at, run, verb, actor, from_status, to_status, outcome, reason, detail from event"
        " where request = %s order by id",
        (request.number,),
    ).fetchall()
