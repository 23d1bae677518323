"""Which Prefect run shows which start of which request.

Invariant: what is true about a request is never read from here; a lost row costs a second Prefect run, which
finds the request claimed and ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from infra.ledger.connection import Connection, Row
from policy.names import RequestId


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One Prefect run of a request.

    Attributes:
        key: `R42:1`, the idempotency key; the number grows with every start that was announced.
        scheduled_for: the start that it was made for; None for a run that takes over an abandoned one.
    """

    request: RequestId
    key: str
    flow_run: UUID
    scheduled_for: datetime | None


def latest(connection: Connection) -> dict[RequestId, Shown]:
    """The newest Prefect run of every open request."""
    rows = connection.execute(
        "select distinct on (display.request) display.* from display join request on number = display.request"
        " where outcome is null order by display.request, display.made_at desc"
    ).fetchall()
    return {found.request: found for found in map(_shown, rows)}


def next_key(connection: Connection, request: RequestId) -> str:
    """The idempotency key of the next Prefect run of `request`."""
    row = connection.execute(
        "select count(*) + 1 as n from display where request = %s", (request.number,)
    ).fetchone()
    return f"{request}:{row['n'] if row else 1}"


def remember(connection: Connection, shown: Shown) -> None:
    """Note a Prefect run that was made."""
    connection.execute(
        "insert into display (request, key, flow_run, scheduled_for) values (%s, %s, %s, %s)"
        " on conflict (key) do nothing",
        (shown.request.number, shown.key, str(shown.flow_run), shown.scheduled_for),
    )


def outdated(connection: Connection) -> list[Shown]:
    """Prefect runs made for a start that no longer stands: moved, cancelled, deferred or taken back."""
    rows = connection.execute(
        "select display.* from display join request on number = display.request"
        " where withdrawn_at is null and display.scheduled_for > now()"
        " and (request.status <> 'Scheduled' or request.scheduled_for is distinct from display.scheduled_for)"
    ).fetchall()
    return [_shown(row) for row in rows]


def withdraw(connection: Connection, shown: Shown) -> None:
    """Note that a Prefect run was cancelled."""
    connection.execute("update display set withdrawn_at = now() where key = %s", (shown.key,))


def ended(connection: Connection) -> list[Shown]:
    """Prefect runs of requests that ended a while ago, and that nobody has compared with the ledger yet."""
    rows = connection.execute(
        "select display.* from display where withdrawn_at is null and exists (select from event"
        " where event.request = display.request and event.outcome is not null"
        " and event.at < now() - interval '1 minute') order by made_at limit 200"
    ).fetchall()
    return [_shown(row) for row in rows]


def _shown(row: Row) -> Shown:
    cell: dict[str, Any] = dict(row)
    return Shown(
        request=RequestId.of(cell["request"]),
        key=cell["key"],
        flow_run=UUID(cell["flow_run"]),
        scheduled_for=cell["scheduled_for"],
    )
