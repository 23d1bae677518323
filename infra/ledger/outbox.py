"""The outbox: what has to be told, written in the transaction of the change, sent later, at least once.

Invariant: a mail server or topic that is away changes no result; every entry is sent, or given up with its
error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from infra.ledger.connection import Connection
from policy.names import RequestId

ATTEMPTS = 12
"""Doubling from 5 s, capped at an hour: the last attempt comes some three hours after the first."""


@dataclass(frozen=True, kw_only=True)
class OutboxEntry:
    """One thing to tell.

    Attributes:
        channel: `mail`, `status` or `webhook`.
        key: stable and unique; the message's id, so that a receiver can drop a repetition.
    """

    id: int
    channel: str
    key: str
    payload: Mapping[str, object]
    attempts: int
    created_at: datetime


def put(
    connection: Connection,
    *,
    channel: str,
    key: str,
    request: RequestId | None,
    payload: Mapping[str, object],
) -> None:
    """Write an entry; the same key again changes nothing."""
    connection.execute(
        "insert into outbox (channel, key, request, payload) values (%s, %s, %s, %s)"
        " on conflict (key) do nothing",
        (channel, key, None if request is None else request.number, json.dumps(payload)),
    )


def claim(
    connection: Connection,
    *,
    limit: int,
    channel: str | None = None,
    hold: timedelta = timedelta(seconds=60),
) -> list[OutboxEntry]:
    """Take up to `limit` due entries, of `channel` if one is named; nobody else is given them for `hold`."""
    rows = connection.execute(
        "update outbox set due_at = now() + %(hold)s, attempts = attempts + 1 where id in ("
        " select id from outbox where sent_at is null and given_up_at is null and due_at <= now()"
        " and (%(channel)s::text is null or channel = %(channel)s)"
        " order by id limit %(limit)s for update skip locked)"
        " returning id, channel, key, payload, attempts, created_at",
        {"hold": hold, "limit": limit, "channel": channel},
    ).fetchall()
    entries = []
    for row in sorted(rows, key=lambda row: int(str(row["id"]))):
        cell: dict[str, Any] = dict(row)
        entries.append(OutboxEntry(**cell))
    return entries


def sent(connection: Connection, entry: OutboxEntry) -> None:
    """The entry reached its server."""
    connection.execute("update outbox set sent_at = now(), last_error = null where id = %s", (entry.id,))


def failed(connection: Connection, entry: OutboxEntry, *, error: str, permanent: bool) -> None:
    """The entry did not reach its server; it is tried again later, or given up."""
    if permanent or entry.attempts >= ATTEMPTS:
        connection.execute(
            "update outbox set given_up_at = now(), last_error = %s where id = %s", (error, entry.id)
        )
        return
    wait = timedelta(seconds=min(5 * 2 ** (entry.attempts - 1), 3600))
    connection.execute(
        "update outbox set due_at = now() + %s, last_error = %s where id = %s", (wait, error, entry.id)
    )


def give_back(connection: Connection, entries: Sequence[OutboxEntry]) -> None:
    """Entries that were claimed and not tried; nothing is counted against them."""
    connection.execute(
        "update outbox set due_at = now(), attempts = attempts - 1 where id = any(%s)",
        ([entry.id for entry in entries],),
    )


def rest(connection: Connection, channel: str, length: timedelta) -> None:
    """Let all of `channel` wait: its server did not answer, and every further try would wait for it too."""
    connection.execute(
        "update outbox set due_at = now() + %s where channel = %s and sent_at is null and given_up_at is null"
        " and due_at < now() + %s",
        (length, channel, length),
    )
