"""End database sessions: those that a worker left behind, and those that stand in a database's way.

Invariant: of a worker's only sessions of this very role that carry the run's own application name are ended,
because another installation on the same server counts its runs alike and has roles of its own. Of those in a
database's way only the ones that this role may end; the others are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

# A session of another role shows its kind to nobody without pg_read_all_stats, but its role to everybody;
# what has no role is the server's own, and the server ends that by itself.
_OTHERS = (
    "FROM pg_stat_activity WHERE datname = ANY (%s) AND pid <> pg_backend_pid() AND usesysid IS NOT NULL"
)
_MAY_END = """
(pg_has_role(usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE') AND NOT EXISTS (
    SELECT FROM pg_roles r WHERE r.oid = usesysid AND r.rolsuper))
"""
_END = f"SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, %s)) {_OTHERS} AND {_MAY_END}"
_WHO = f"SELECT DISTINCT usename::text {_OTHERS} ORDER BY 1"


def end_sessions(session: psycopg.Connection[Any], databases: Sequence[str], *, wait_ms: int = 0) -> int:
    """End every session in `databases` that this role may end; returns how many were ended.

    Args:
        session: in another database of the server.
        databases: their names.
        wait_ms: for so long each is waited for.
    """
    row = session.execute(_END, [wait_ms, list(databases)]).fetchone()
    return 0 if row is None else int(row[0])


def whose_sessions(session: psycopg.Connection[Any], databases: Sequence[str]) -> str:
    """The roles that have sessions in `databases`, for people."""
    found = session.execute(_WHO, [list(databases)]).fetchall()
    return ", ".join(str(role) for (role,) in found) or "an unknown role"


def end_backends(connection: psycopg.Connection[tuple[object, ...]], *, run: str) -> int:
    """End every other session that this role has for `run` on this server; wait for each up to five seconds.

    Returns:
        How many were ended.
    """
    row = connection.execute(
        "select count(*) filter (where pg_terminate_backend(pid, 5000)) from pg_stat_activity"
        " where application_name = %s and usename = current_user and pid <> pg_backend_pid()",
        (f"freshet-{run}",),
    ).fetchone()
    return 0 if row is None else int(str(row[0]))
