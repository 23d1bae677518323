"""Everything that can be known before a copy is begun, told at once.

Invariant: it only reads, and what it cannot see it says so instead of passing it.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from infra.postgres.methods import CopyJob
from infra.postgres.reach import hindrances
from infra.postgres.server_error import telling
from policy.errors import Unavailable

ADMIN_DATABASE = "postgres"
MARGIN = 1.2
"""Space is needed for the copy and a fifth more: sorting, write-ahead log, what grows meanwhile."""

_SIZE = "SELECT pg_database_size(current_database())"
_HELD = """
SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database
 WHERE has_database_privilege(oid, 'CONNECT')
"""
_READER = """
SELECT r.rolsuper, r.rolcreaterole, r.rolcreatedb,
       pg_has_role(current_user, 'pg_write_all_data', 'USAGE'),
       pg_has_role(current_user, d.datdba, 'USAGE'), has_database_privilege(d.oid, 'CREATE')
  FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
"""
_WRITABLE = """
SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
 ORDER BY 1 LIMIT 4
"""
# Without that right every session of another role is without a kind and a state: none would be counted.
_ACTIVE = """
SELECT count(*) FILTER (WHERE state = 'active')
 FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
HAVING pg_has_role('pg_read_all_stats', 'USAGE')
"""
_EXTENSIONS = "SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY extname"
_AVAILABLE = """
SELECT bool_or(true), bool_or(e.trusted OR NOT e.superuser OR r.rolsuper)
  FROM pg_available_extension_versions e, pg_roles r WHERE e.name = %s AND r.rolname = current_user
"""
_OWNER = "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
_SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = %s"
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = %s"


@telling("looking before copying")
def preflight(job: CopyJob, *, replaces: str | None = None) -> tuple[str, ...]:
    """Every reason why this copy should not begin, one sentence each with its remedy; empty means go.

    Args:
        job: the copy; its incoming database need not exist.
        replaces: the target's present database, which the copy is to replace and which is kept for undo.
    """
    findings: list[str] = []
    try:
        with job.on_source() as source:
            findings += _source(job, source)
            try:
                with job.on_target(ADMIN_DATABASE, autocommit=True) as target:
                    findings += _target(job, source, target, replaces)
            except Unavailable as error:
                findings.append(str(error))
    except Unavailable as error:
        findings.append(str(error))
        try:
            job.on_target(ADMIN_DATABASE, autocommit=True).close()
        except Unavailable as other:
            findings.append(str(other))
    return tuple(findings)


def _source(job: CopyJob, source: psycopg.Connection) -> Iterator[str]:
    yield from hindrances(source, job)[1]
    row = source.execute(_READER).fetchone() or (True,) * 6
    rights = ("is a superuser", "may create roles", "may create databases", "may write all data",
              "is a member of the database's owner", "may create schemas")  # fmt: skip
    for told, right in zip(row, rights, strict=True):
        if told:
            yield (
                f"role '{job.reader.user}' on server '{job.source.name}' {right}; "
                "a source is read by a role that can do nothing else"
            )
    writable = [name for (name,) in source.execute(_WRITABLE)] if not row[0] else []
    if writable:
        yield (
            f"role '{job.reader.user}' may write to {', '.join(writable[:3])}"
            f"{' and others' if len(writable) > 3 else ''}; revoke that"  # noqa: PLR2004 - as many as are shown
        )
    seen = source.execute(_ACTIVE).fetchone()
    active = None if seen is None else int(seen[0])
    if active is None:
        yield (
            f"role '{job.reader.user}' may not see who is at work on server '{job.source.name}'; "
            "make it a member of pg_read_all_stats"
        )
    elif active > job.active_limit:
        yield (
            f"server '{job.source.name}' has {active} active sessions, more than the limit of "
            f"{job.active_limit}; try again when it is quieter"
        )


def _target(
    job: CopyJob, source: psycopg.Connection, target: psycopg.Connection, replaces: str | None
) -> Iterator[str]:
    ours, theirs = (session.info.server_version // 10000 for session in (target, source))
    if ours < theirs:
        yield (
            f"server '{job.target.name}' is PostgreSQL {ours}, the source is {theirs}: "
            "a copy can only go to the same or a newer version"
        )
    if not _one(target, _OWNER):
        yield f"role '{job.owner.user}' may not create databases on '{job.target.name}'; give it CREATEDB"
    for name, version in source.execute(_EXTENSIONS).fetchall():
        available, allowed = target.execute(_AVAILABLE, [name]).fetchone() or (False, False)
        if not available:
            yield f"extension '{name}' ({version}) is not installed on server '{job.target.name}'; install it"
        elif not allowed:
            yield (
                f"extension '{name}' needs a superuser to create it on server '{job.target.name}'; "
                "mark it trusted in its control file there"
            )
    need, spare = int(_one(source, _SIZE) * MARGIN), _spare(job, target)
    if spare is not None and spare < need:
        yield (
            f"server '{job.target.name}' has {spare / 1e9:.1f} GB free and the copy needs "
            f"{need / 1e9:.1f} GB beside the present database, which is kept for undo; make room "
            "(`freshet golden list` and `freshet sweep` tell what is kept), or correct its disk_gb"
        )
    if replaces is not None:
        for (slot,) in target.execute(_SLOTS, [replaces]).fetchall():
            yield f"replication slot '{slot}' holds database '{replaces}': drop it, or the swap cannot happen"
        for (prepared,) in target.execute(_PREPARED, [replaces]).fetchall():
            yield f"prepared transaction '{prepared}' holds '{replaces}': commit it or roll it back first"


def _spare(job: CopyJob, target: psycopg.Connection) -> int | None:
    """Free bytes, as somebody told or as the estate declares the disk; previous ones and images count."""
    if job.spare_bytes is not None or job.target.disk_gb is None:
        return job.spare_bytes
    return max(job.target.disk_gb * 10**9 - _one(target, _HELD), 0)


def _one(session: psycopg.Connection, query: str) -> int:
    row = session.execute(query).fetchone()
    return int(row[0]) if row else 0
