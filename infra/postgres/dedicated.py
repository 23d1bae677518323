"""Whether a server is there for one web application alone: what is restored as a whole takes everybody back.

Invariant: the answer comes from the server's catalog; a database that nobody declared, a table somebody put
into the maintenance database, or anything that follows the server's log speaks against it.
"""

from __future__ import annotations

from collections.abc import Collection

from infra.postgres.snapshot_kind import Admin
from infra.postgres.tag import database_of
from policy.names import DatabaseName

MAINTENANCE = frozenset({"postgres", "rdsadmin"})
"""Databases that a server has for itself. Source: initdb, and Amazon RDS."""

_DATABASES = """
SELECT datname::text, shobj_description(oid, 'pg_database') FROM pg_database
WHERE datname NOT IN ('template0', 'template1') ORDER BY datname
"""
_TABLES = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
  AND d.deptype = 'e')
"""
_SHOWN = 5


def shared_with(admin: Admin, databases: Collection[DatabaseName]) -> str:
    """What else is on the server than `databases`; empty when nothing is.

    Args:
        admin: a session in the database `postgres`.
        databases: those that the web application serves there.
    """
    served = set(databases)
    others = [
        name
        for name, comment in admin.execute(_DATABASES).fetchall()
        if name not in served and name not in MAINTENANCE and database_of(name, comment) not in served
    ]
    if others:
        shown = ", ".join(f"'{name}'" for name in others[:_SHOWN])
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        return f"it would take back {shown}{more} as well, which this web application does not serve"
    row = admin.execute(_TABLES).fetchone()
    if row is not None and row[0]:
        return (
            f"it would take back {row[0]} tables in database '{admin.info.dbname}' as well; "
            "move them to a database that is declared"
        )
    return ""


def followed_by(admin: Admin) -> str:
    """What follows the server's log, or lies elsewhere, and would not go back; empty when nothing does."""
    standby, archive = admin.execute(
        "SELECT pg_is_in_recovery(), current_setting('archive_mode')"
    ).fetchone() or (False, "off")
    if standby:
        return "the server is a standby; it goes where its primary goes"
    if archive != "off":
        return "its log is archived, and a server that goes back would write the same stretch of it again"
    for query, words in (
        ("SELECT count(*) FROM pg_stat_replication", "{} standbys or readers follow its log"),
        ("SELECT count(*) FROM pg_replication_slots", "{} replication slots wait in its log"),
        ("SELECT count(*) FROM pg_subscription", "{} subscriptions would receive the same changes twice"),
        (
            "SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')",
            "{} tablespaces lie outside its data directory",
        ),
    ):
        row = admin.execute(query.encode()).fetchone()
        if row is not None and row[0]:
            return words.format(row[0])
    return ""
