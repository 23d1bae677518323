"""What of a database belongs to its name and not to its data: owner, grants, limits, settings, comment.

Invariant: a new database that takes a site's name wears what the old one wore, so the target's settings and
grants survive every refresh and Production's never arrive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from policy.errors import StepFailed

_PRIVILEGES = {"CONNECT": SQL("CONNECT"), "CREATE": SQL("CREATE"), "TEMPORARY": SQL("TEMPORARY")}
_LISTS = {"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries",
          "unix_socket_directories", "listen_addresses", "shared_preload_libraries"}  # fmt: skip
"""Settings that hold a list of names: stored as one text of quoted names, to be given back name by name."""

_ITEM = re.compile(r'"(?:[^"]|"")*"|[^\s,"]+')


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One privilege on the database; the grantee '' is PUBLIC."""

    grantee: str
    privilege: str
    grantable: bool


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting for the database, for all roles or for one."""

    role: str | None
    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Dress:
    """All of it."""

    owner: str
    limit: int
    grants: tuple[Grant, ...]
    settings: tuple[Setting, ...]
    comment: str | None


def read_dress(admin: psycopg.Connection[Any], database: str) -> Dress:
    """What `database` wears.

    Raises:
        StepFailed: it does not exist.
    """
    row = admin.execute(
        "SELECT oid, pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database') "
        "FROM pg_database WHERE datname = %s",
        [database],
    ).fetchone()
    if row is None:
        raise StepFailed(f"database '{database}' does not exist on the server")
    oid, owner, limit, comment = row
    grants = admin.execute(
        "SELECT CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END, a.privilege_type, "
        "bool_or(a.is_grantable) FROM pg_database d, "
        "aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a WHERE d.oid = %s GROUP BY 1, 2 "
        "ORDER BY 1, 2",
        [oid],
    ).fetchall()
    settings = admin.execute(
        "SELECT CASE WHEN setrole <> 0 THEN pg_get_userbyid(setrole)::text END, unnest(setconfig) "
        "FROM pg_db_role_setting WHERE setdatabase = %s",
        [oid],
    ).fetchall()
    return Dress(
        owner=owner,
        limit=limit,
        grants=tuple(Grant(grantee=to, privilege=what, grantable=pass_on) for to, what, pass_on in grants),
        settings=tuple(
            Setting(role=role, name=config.partition("=")[0], value=config.partition("=")[2])
            for role, config in settings
        ),
        comment=comment,
    )


def dress_statements(name: str, dress: Dress) -> Iterator[Composed]:
    """What makes the database `name`, which wears nothing but its owner's default, wear `dress`."""
    database = Identifier(name)
    yield SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)
    for grant in dress.grants:
        yield SQL("GRANT {} ON DATABASE {} TO {}{}").format(
            _PRIVILEGES[grant.privilege],
            database,
            Identifier(grant.grantee) if grant.grantee else SQL("PUBLIC"),
            SQL(" WITH GRANT OPTION") if grant.grantable and grant.grantee != dress.owner else SQL(""),
        )
    yield SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, Literal(dress.limit))
    for setting in dress.settings:
        yield _setting(database, setting)
    yield SQL("COMMENT ON DATABASE {} IS {}").format(database, Literal(dress.comment))
    yield SQL("ALTER DATABASE {} OWNER TO {}").format(database, Identifier(dress.owner))


def _setting(database: Identifier, setting: Setting) -> Composed:
    target = (
        SQL("ALTER DATABASE {}").format(database)
        if setting.role is None
        else SQL("ALTER ROLE {} IN DATABASE {}").format(Identifier(setting.role), database)
    )
    value = (
        SQL(", ").join(Literal(_unquoted(item)) for item in _ITEM.findall(setting.value)) or Literal("")
        if setting.name in _LISTS
        else Literal(setting.value)
    )
    name = SQL(".").join(Identifier(part) for part in setting.name.split("."))
    return SQL("{} SET {} TO {}").format(target, name, value)


def _unquoted(item: str) -> str:
    return item[1:-1].replace('""', '"') if item.startswith('"') else item


def check_dress(admin: psycopg.Connection[Any], database: str) -> tuple[str, ...]:
    """Why this session could not give the dress of `database` to another one; tried, and rolled back."""
    dress = read_dress(admin, database)
    try:
        with admin.transaction(force_rollback=True):
            admin.execute("SET LOCAL lock_timeout = '5s'")
            for statement in dress_statements(database, dress):
                admin.execute(statement)
    except psycopg.Error as error:
        words = error.diag.message_primary or type(error).__name__
        finding = (
            f"database '{database}': '{admin.info.user}' may not give its owner, grants or settings to the "
            f"copy ({words}); grant it what is missing, or remove the setting"
        )
        return (finding,)
    return ()
