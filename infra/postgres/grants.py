"""What roles of the target's own may do inside its database: carried into the copy.

A reporting role of the Sandbox is unknown to Production, so no copy grants it anything. What it was granted
on schemas, tables, views, sequences, columns and routines is granted again where the copy has them, and so
are the owner's default privileges. Roles that both servers have are Production's to say: their grants came.

Invariant: nobody is granted more than the target's database granted, and what could not be granted is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from policy.protection import OWN_SCHEMA

_PRIVILEGES = {
    name: SQL(name)
    for name in (
        "SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN",
        "USAGE", "CREATE", "EXECUTE",
    )
}  # fmt: skip
_KINDS = {
    "schema": SQL("SCHEMA"),
    "table": SQL("TABLE"),
    "sequence": SQL("SEQUENCE"),
    "routine": SQL("ROUTINE"),
}
_DEFAULTS = {"r": SQL("TABLES"), "S": SQL("SEQUENCES"), "f": SQL("ROUTINES")}

_GRANTS = """
WITH own AS (
    SELECT oid, nspname, nspacl, nspowner FROM pg_namespace
     WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', %(own)s)),
given (kind, schema, name, arguments, col, acl, owner) AS (
    SELECT 'schema', nspname, NULL, NULL, NULL, nspacl, nspowner FROM own
    UNION ALL
    SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, nspname, relname, NULL, NULL, relacl,
           relowner
      FROM pg_class JOIN own ON own.oid = relnamespace WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'table', nspname, relname, NULL, attname, attacl, relowner
      FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN own ON own.oid = relnamespace
     WHERE attacl IS NOT NULL AND NOT attisdropped
    UNION ALL
    SELECT 'routine', nspname, proname, pg_get_function_identity_arguments(p.oid), NULL, proacl, proowner
      FROM pg_proc p JOIN own ON own.oid = pronamespace)
SELECT kind, schema, name, arguments, col, pg_get_userbyid(a.grantee)::text, a.privilege_type, a.is_grantable
  FROM given, aclexplode(acl) AS a WHERE a.grantee NOT IN (0, owner)
 ORDER BY 1, 2, 3, 5, 6, 7
"""
_DEFAULT_GRANTS = """
SELECT n.nspname, d.defaclobjtype::text, pg_get_userbyid(a.grantee)::text, a.privilege_type, a.is_grantable
  FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) AS a
 WHERE d.defaclrole = (SELECT oid FROM pg_roles WHERE rolname = current_user)
   AND a.grantee NOT IN (0, d.defaclrole)
 ORDER BY 1, 2, 3, 4
"""


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What became of the grants: how many were given again, and which were not."""

    given: int
    left: tuple[str, ...]


def carry_grants(
    source: psycopg.Connection[Any], target: psycopg.Connection[Any], incoming: psycopg.Connection[Any]
) -> Carried:
    """Grant again, in the copy, what only the target's own roles were granted.

    Args:
        source: in Production, whose roles are left as they came.
        target: in the database that serves; only read.
        incoming: in the copy, as its owner.
    """
    theirs = {name for (name,) in source.execute("SELECT rolname::text FROM pg_roles").fetchall()}
    given, left = 0, []
    for role, what, statement in _statements(target):
        if role in theirs:
            continue
        try:
            with incoming.transaction():
                incoming.execute(statement)
        except psycopg.Error as error:
            left.append(f"{role}: {what} ({type(error).__name__})")
        else:
            given += 1
    return Carried(given=given, left=tuple(left))


def _statements(target: psycopg.Connection[Any]) -> Iterator[tuple[str, str, Composed]]:
    """Each grant: the role, what it is about, and the statement."""
    for kind, schema, name, arguments, column, role, privilege, grantable in target.execute(
        _GRANTS, {"own": OWN_SCHEMA}
    ).fetchall():
        thing = Identifier(schema) if name is None else Identifier(schema, name)
        place = SQL("{}({})").format(thing, SQL(arguments)) if kind == "routine" else SQL("{}").format(thing)
        right = _PRIVILEGES[privilege]
        yield (
            role,
            f"{privilege} on {kind} {schema}{'' if name is None else f'.{name}'}",
            SQL("GRANT {} ON {} {} TO {}{}").format(
                right if column is None else SQL("{} ({})").format(right, Identifier(column)),
                _KINDS[kind],
                place,
                Identifier(role),
                SQL(" WITH GRANT OPTION") if grantable else SQL(""),
            ),
        )
    for schema, kind, role, privilege, grantable in target.execute(_DEFAULT_GRANTS).fetchall():
        if kind not in _DEFAULTS:
            continue
        yield (
            role,
            f"{privilege} on future {_DEFAULTS[kind].as_string().lower()}",
            SQL("ALTER DEFAULT PRIVILEGES {} GRANT {} ON {} TO {}{}").format(
                SQL("") if schema is None else SQL("IN SCHEMA {}").format(Identifier(schema)),
                _PRIVILEGES[privilege],
                _DEFAULTS[kind],
                Identifier(role),
                SQL(" WITH GRANT OPTION") if grantable else SQL(""),
            ),
        )
