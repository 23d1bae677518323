"""End the database sessions that a worker left behind.

Invariant: only sessions of this very role that carry the run's own application name are ended; another
installation on the same server counts its runs alike and has roles of its own.
"""

from __future__ import annotations

import psycopg


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
