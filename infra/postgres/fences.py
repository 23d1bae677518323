"""The five fences around Production. Each is enough by itself to stop a refresh that runs the wrong way.

Invariant: each fence asks another witness, so no single mistake opens two of them: the type asks the estate,
the marker the databases themselves, the identity the clusters, the credential the server's grants, the sign
the cluster's own catalog. On AWS deletion protection and an IAM deny by tag stand beside the fifth.

None of them remembers: they look when a run begins, and `guard` looks again in each session that writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from infra.postgres.marker import Marker, read_marker
from infra.postgres.session import connect
from infra.secrets import SecretFiles
from policy.errors import Refused, Unavailable
from policy.estate import Source, Target
from policy.machines import DatabaseServer
from policy.names import Environment

SIGN = "freshet_production"
"""A role without rights that stands on each server that holds Production; every session can see it."""

_RIGHTS = """
SELECT unnest(ARRAY[
    CASE WHEN r.rolsuper THEN 'is a superuser' END,
    CASE WHEN r.rolcreatedb THEN 'may create databases' END,
    CASE WHEN r.rolcreaterole THEN 'may create roles' END,
    CASE WHEN r.rolreplication THEN 'may replicate' END,
    CASE WHEN pg_has_role('pg_write_all_data', 'MEMBER') THEN 'is a member of pg_write_all_data' END,
    CASE WHEN pg_has_role('pg_write_server_files', 'MEMBER') THEN 'may write files on the server' END,
    CASE WHEN pg_has_role('pg_execute_server_program', 'MEMBER') THEN 'may run programs on the server' END,
    CASE WHEN pg_has_role(d.datdba, 'MEMBER') THEN 'owns the database' END,
    CASE WHEN has_database_privilege(d.oid, 'CREATE') THEN 'may create schemas' END])
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
UNION ALL SELECT 'may create in schema ' || n.nspname FROM pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND has_schema_privilege(n.oid, 'CREATE')
UNION ALL SELECT 'may write ' || min(c.oid::regclass::text)
    || CASE WHEN count(*) > 1 THEN ' and ' || count(*) - 1 || ' more tables' ELSE '' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a database and its cluster say of themselves.

    Attributes:
        signed: the cluster carries the sign of Production.
    """

    database: str
    oid: int
    system_identifier: str
    marker: Marker | None
    signed: bool


def look(connection: psycopg.Connection[Any]) -> Seen:
    """Ask the database of `connection` and its cluster who they are.

    Raises:
        Refused: its marker makes no sense.
    """
    row = connection.execute(
        "SELECT d.datname::text, d.oid::bigint, c.system_identifier::text, "
        "EXISTS (SELECT FROM pg_roles WHERE rolname = %s) "
        "FROM pg_database d, pg_control_system() AS c WHERE d.datname = current_database()",
        [SIGN],
    ).fetchone()
    if row is None:
        raise Unavailable("the server does not say which database this is")
    return Seen(
        database=row[0],
        oid=row[1],
        system_identifier=row[2],
        signed=row[3],
        marker=read_marker(connection),
    )


def type_fence(target: Target) -> tuple[str, ...]:
    """One: a `Target` cannot be built for Production; said again for one that was built otherwise."""
    if target.site.id.environment is Environment.PRODUCTION or target.server.production:
        return (f"site {target.site.id}: it is Production, or its server holds Production; never a target",)
    return ()


def marker_fence(source: Source, target: Target, source_seen: Seen, target_seen: Seen) -> tuple[str, ...]:
    """Two: each database says by its own marker that it is what the estate says; absent means refused."""
    found = []
    for site, seen in ((source.site, source_seen), (target.site, target_seen)):
        if seen.marker is None:
            found.append(
                f"site {site.id}: its database '{seen.database}' has no marker; if it is the right one, run "
                "the script of `freshet estate roles --sql` there"
            )
        elif seen.marker.site != site.id:
            found.append(
                f"site {site.id}: its database '{seen.database}' says by its marker that it is "
                f"{seen.marker.site}; correct the estate's file or the name that leads there"
            )
    return tuple(found)


def identity_fence(source: Source, target: Target, source_seen: Seen, target_seen: Seen) -> tuple[str, ...]:
    """Three: the clusters are two, and each is the one that the estate pins."""
    found = [
        *_pinned(source.server, source_seen.system_identifier),
        *_pinned(target.server, target_seen.system_identifier),
    ]
    if source_seen.system_identifier == target_seen.system_identifier:
        same = "are the same database" if source_seen.oid == target_seen.oid else "lie in the same cluster"
        found.append(
            f"site {target.site.id}: its database and Production's {same}; move it to a server of its own"
        )
    return tuple(found)


def credential_fence(
    source: Source, target: Target, source_connection: psycopg.Connection[Any], secrets: SecretFiles
) -> tuple[str, ...]:
    """Four: what reads Production cannot write it, and what writes the target is nobody on Production."""
    role = source_connection.info.user
    rights = [str(right) for (right,) in source_connection.execute(_RIGHTS).fetchall() if right is not None]
    found = [
        f"server '{source.server.name}': role '{role}' reads Production and {right}; it must not be able "
        "to write (see `freshet estate roles --sql`)"
        for right in rights
    ]
    if _lets_in(source, target, secrets):
        found.append(
            f"server '{source.server.name}': it lets in '{target.server.owner.user}', who owns targets on "
            f"'{target.server.name}'; give that role another password there, or none"
        )
    return tuple(found)


def sign_fence(target: Target, target_seen: Seen) -> tuple[str, ...]:
    """Five: a cluster with the sign of Production is never written to by a refresh."""
    if target_seen.signed:
        finding = (
            f"server '{target.server.name}': it carries the role '{SIGN}', so it holds Production; "
            "correct the estate's file or the name that leads there"
        )
        return (finding,)
    return ()


def check_fences(
    source: Source,
    target: Target,
    *,
    source_connection: psycopg.Connection[Any],
    target_connection: psycopg.Connection[Any],
    secrets: SecretFiles,
) -> None:
    """All five, before anything is done.

    Args:
        source: what is to be read.
        target: what is to be replaced.
        source_connection: in Production's database, as the reader.
        target_connection: in the target's database, as the owner.
        secrets: for the attempt to enter Production as the target's owner.

    Raises:
        Refused: every finding of every fence.
    """
    source_seen, target_seen = look(source_connection), look(target_connection)
    findings = (
        *type_fence(target),
        *marker_fence(source, target, source_seen, target_seen),
        *identity_fence(source, target, source_seen, target_seen),
        *credential_fence(source, target, source_connection, secrets),
        *sign_fence(target, target_seen),
    )
    if findings:
        raise Refused(*findings)


def guard(connection: psycopg.Connection[Any], target: Target) -> None:
    """Prove once more, in a session that is about to write, that it stands on the target's own server.

    Raises:
        Refused: it stands elsewhere.
    """
    row = connection.execute(
        "SELECT system_identifier::text, EXISTS (SELECT FROM pg_roles WHERE rolname = %s) "
        "FROM pg_control_system()",
        [SIGN],
    ).fetchone()
    identifier, signed = row or ("", True)
    findings = list(type_fence(target)) + list(_pinned(target.server, identifier))
    if signed:
        findings.append(
            f"server '{target.server.name}': it carries the role '{SIGN}', so it holds Production"
        )
    if findings:
        raise Refused(*findings)


def _pinned(server: DatabaseServer, identifier: str) -> tuple[str, ...]:
    if server.system_identifier is None:
        finding = (
            f"server '{server.name}': the estate does not pin its system_identifier; "
            f'add `system_identifier: "{identifier}"` once you have checked that it is the right server'
        )
        return (finding,)
    if server.system_identifier != identifier:
        finding = (
            f"server '{server.name}': it is not the cluster that the estate pins (it says {identifier}); "
            "its name, port or address leads elsewhere"
        )
        return (finding,)
    return ()


def _lets_in(source: Source, target: Target, secrets: SecretFiles) -> bool:
    try:
        with connect(source.server, source.site.database, target.server.owner, secrets, run="fence"):
            return True
    except Unavailable:
        return False
