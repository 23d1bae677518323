"""What is done now and then by whichever process gets to it: when it was done last, and what it had seen.

Invariant: of any number of processes, one is given a chore that is due; the others are told that it is not.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from infra.ledger.connection import Connection


def take(connection: Connection, name: str, *, now: datetime, every: timedelta) -> bool:
    """Whether chore `name` is due at `now`; then it counts as done. A clock set back does not block it."""
    row = connection.execute(
        "insert into chore (name, done_at) values (%(name)s, %(now)s)"
        " on conflict (name) do update set done_at = excluded.done_at"
        " where chore.done_at <= %(now)s - %(every)s or chore.done_at > %(now)s + %(every)s"
        " returning name",
        {"name": name, "now": now, "every": every},
    ).fetchone()
    return row is not None


def seen(connection: Connection, name: str) -> str:
    """What chore `name` had seen when it was done last."""
    row = connection.execute("select mark from chore where name = %s", (name,)).fetchone()
    return "" if row is None else str(row["mark"])


def remember(connection: Connection, name: str, *, now: datetime, mark: str) -> None:
    """Chore `name` is done, and had seen `mark`."""
    connection.execute(
        "insert into chore (name, done_at, mark) values (%s, %s, %s)"
        " on conflict (name) do update set done_at = excluded.done_at, mark = excluded.mark",
        (name, now, mark),
    )
