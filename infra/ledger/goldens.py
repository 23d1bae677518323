"""Builds of golden images: who is at it, and how the last ones ended.

Invariant: of one customer on one server at most one build is under way; a builder that does not renew its
claim in time has lost it, proves nothing any more, and installs nothing. Time is the ledger's own for claims.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from infra.ledger.connection import Connection
from policy.errors import Busy
from policy.names import CustomerName, ServerName


class BuildOutcome(StrEnum):
    """How a build ended."""

    BUILT = "built"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class Build:
    """One build of a customer's images on one server.

    Attributes:
        outcome: None while it is under way.
        reason: why it failed, in plain words.
    """

    number: int
    customer: CustomerName
    server: ServerName
    begun_at: datetime
    ended_at: datetime | None
    outcome: BuildOutcome | None
    reason: str


def begin(
    connection: Connection,
    *,
    customer: CustomerName,
    server: ServerName,
    holder: str,
    now: datetime,
    lease_seconds: int,
) -> tuple[int, tuple[int, ...]]:
    """Claim the images of `customer` on `server`; a builder that was not heard of in time has lost them.

    Returns:
        The build's number, and the numbers of those that have just lost their claim.

    Raises:
        Busy: another builder is at it.
    """
    lost = connection.execute(
        "update golden_build set outcome = 'lost', ended_at = %s,"
        " reason = 'the builder was not heard of any more'"
        " where customer = %s and server = %s and ended_at is null"
        " and renewed_at < now() - make_interval(secs => %s) returning number",
        (now, customer, server, lease_seconds),
    ).fetchall()
    row = connection.execute(
        "insert into golden_build (customer, server, holder, begun_at) values (%s, %s, %s, %s)"
        " on conflict (customer, server) where ended_at is null do nothing returning number",
        (customer, server, holder, now),
    ).fetchone()
    if row is None:
        raise Busy(f"golden images of {customer} on {server} are being built; see `freshet golden list`")
    return int(str(row["number"])), tuple(int(str(each["number"])) for each in lost)


def prove(connection: Connection, number: int) -> None:
    """Prove and renew the claim of build `number`.

    Raises:
        Busy: it was lost to another builder, or has ended.
    """
    renewed = connection.execute(
        "update golden_build set renewed_at = now() where number = %s and ended_at is null", (number,)
    )
    if renewed.rowcount != 1:
        raise Busy(f"golden build {number}: another builder took over; this one touches nothing more")


def end(
    connection: Connection,
    number: int,
    outcome: BuildOutcome,
    *,
    now: datetime,
    reason: str = "",
    facts: Mapping[str, object] | None = None,
) -> bool:
    """Write how build `number` ended; False when that is written already."""
    ended = connection.execute(
        "update golden_build set outcome = %s, ended_at = %s, reason = %s, facts = %s"
        " where number = %s and ended_at is null",
        (outcome.value, now, reason, json.dumps(dict(facts or {})), number),
    )
    return ended.rowcount == 1


def under_way(connection: Connection, lease_seconds: int) -> tuple[Build, ...]:
    """Builds whose builder is heard of."""
    return _builds(
        connection,
        "select * from golden_build where ended_at is null"
        " and renewed_at >= now() - make_interval(secs => %s) order by number",
        (lease_seconds,),
    )


def last(connection: Connection, customer: CustomerName, server: ServerName) -> Build | None:
    """The newest build of `customer` on `server`, under way or ended."""
    found = _builds(
        connection,
        "select * from golden_build where customer = %s and server = %s order by number desc limit 1",
        (customer, server),
    )
    return found[0] if found else None


def ledger_identity(connection: Connection) -> str:
    """Which ledger this is; what another one's builders left is never touched."""
    row = connection.execute("select ledger::text as ledger from identity").fetchone()
    return "" if row is None else str(row["ledger"])


def _builds(connection: Connection, query: str, values: tuple[object, ...]) -> tuple[Build, ...]:
    found = []
    for row in connection.execute(query.encode(), values).fetchall():
        cell: dict[str, Any] = dict(row)
        found.append(
            Build(
                number=cell["number"],
                customer=CustomerName(cell["customer"]),
                server=ServerName(cell["server"]),
                begun_at=cell["begun_at"],
                ended_at=cell["ended_at"],
                outcome=None if cell["outcome"] is None else BuildOutcome(cell["outcome"]),
                reason=cell["reason"],
            )
        )
    return tuple(found)
