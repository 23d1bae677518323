"""What the source's reader can reach, asked before a method is offered.

Invariant: a reader that would be shown fewer rows than there are is a hindrance that is told, never a smaller
copy; sessions that read set `row_security` off besides, so that the server itself refuses to filter.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from infra.postgres import catalog
from infra.postgres.catalog import Table
from infra.postgres.methods import CopyJob
from policy.errors import Refused

_READER = """
SELECT rolsuper OR rolbypassrls, pg_encoding_to_char(d.encoding),
       has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')
  FROM pg_roles, pg_database d WHERE rolname = current_user AND d.datname = current_database()
"""
_SETTINGS = {
    "client_min_messages": "error",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
    "TimeZone": "UTC",
    "search_path": "",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "10s",
}
"""How both ends of a COPY speak, whatever the role's or the database's own settings are."""

LAZY = {"synchronous_commit": "off"}
"""For the target; nothing is lost by it, a later commit that waits for the disk takes earlier ones along."""


def settle(connection: psycopg.Connection, **more: str) -> None:
    """Give a session the settings under which data travel unchanged."""
    for name, value in {**_SETTINGS, **more}.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])


def read_in(connection: psycopg.Connection, job: CopyJob, snapshot: str | None) -> None:
    """Make `connection` read in one snapshot, its own or an exported one, with the masking key at hand."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    if snapshot is not None:
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
    settle(connection, row_security="off", synchronize_seqscans="off")
    # Bound, so that neither the statement's text nor pg_stat_statements holds it.
    connection.execute("SELECT set_config('freshet.key', %s, false)", [job.key.get_secret_value()])


def hindrances(connection: psycopg.Connection, job: CopyJob) -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """The source's tables, and every reason why this reader cannot copy them through `job`'s selections."""
    found = catalog.tables(connection)
    large = catalog.large_objects(connection)
    row = connection.execute(_READER).fetchone()
    sees_all_rows, encoding, reads_large_objects = row or (False, "", False)
    reasons: list[str] = []
    try:
        taken = catalog.covered(found, job.selections, large=large)
    except Refused as refused:
        return found, refused.findings
    wanted = [table for table in found if taken[table.name].rows]
    hidden = [str(table.name) for table in wanted if table.row_security]
    if hidden and not sees_all_rows:
        reasons.append(
            f"row-level security hides rows of {_some(hidden)} from '{job.reader.user}'; "
            "give that role BYPASSRLS, otherwise rows would be missing without a word"
        )
    closed = _closed(connection, wanted)
    if closed:
        reasons.append(
            f"'{job.reader.user}' may not read {_some(closed)}; make it a member of pg_read_all_data"
        )
    if large and taken[catalog.LARGE_OBJECTS].rows and not reads_large_objects:
        reasons.append(
            f"'{job.reader.user}' may not read large objects; make it a member of pg_read_all_data, "
            "or set rows off for them in the protection policy"
        )
    if encoding == "SQL_ASCII":
        reasons.append("the source's encoding is SQL_ASCII: nobody can tell which characters its bytes mean")
    return found, tuple(reasons)


def _closed(connection: psycopg.Connection, wanted: list[Table]) -> list[str]:
    rows = connection.execute(
        "SELECT oid FROM unnest(%s::oid[]) AS oid WHERE NOT has_table_privilege(oid, 'SELECT')",
        [[table.oid for table in wanted]],
    ).fetchall()
    closed = {oid for (oid,) in rows}
    return [str(table.name) for table in wanted if table.oid in closed]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"  # noqa: PLR2004 - as many as are shown
