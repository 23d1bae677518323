"""The database that a run builds aside: made, found and dropped by the name that derives from the run.

Invariant: it is born closed. Nobody but its owner may connect to it before it takes the site's name, and
there is no moment at which PUBLIC could: it refuses connections until PUBLIC's right to connect is revoked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Identifier, Literal

from infra.postgres.tag import Standing, Tag, read_tag, tag_statement
from policy.errors import Refused, StepFailed
from policy.names import DatabaseName, RunId, incoming_name


def exists(admin: psycopg.Connection[Any], name: str) -> bool:
    """Whether the server has a database `name`."""
    return admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def create_incoming(
    admin: psycopg.Connection[Any], database: DatabaseName, run: RunId, *, at: datetime, encoding: str
) -> str:
    """Make the incoming database of `run`, closed and empty; one that is there already is closed again.

    Args:
        admin: an autocommit session in another database, as the role that is to own it.
        database: the site's database; the new one takes its locale, so sort orders stay as they are.
        run: whose it is.
        at: the present instant, for the tag.
        encoding: of the source, because its bytes are to be stored.

    Returns:
        Its name.
    """
    name = incoming_name(database, run)
    if not exists(admin, name):
        create_like(admin, database, name, encoding=encoding)
    tag_incoming(admin, database, run, at=at)
    admin.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(Identifier(name)))
    return name


def create_like(admin: psycopg.Connection[Any], database: str, name: str, *, encoding: str) -> None:
    """Make the empty database `name` with the locale of `database`; it refuses every connection."""
    admin.execute(
        SQL("CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS false ENCODING {} {}").format(
            Identifier(name), Literal(encoding), _locale(admin, database)
        )
    )


def tag_incoming(
    admin: psycopg.Connection[Any], database: DatabaseName, run: RunId, *, at: datetime, proven: str = ""
) -> None:
    """Close the incoming database of `run` to others and say whose it is.

    Args:
        admin: an autocommit session in another database.
        database: the site's.
        run: whose it is.
        at: the present instant.
        proven: under which word the image was proven that it is a clone of; see `Tag.proven`.
    """
    name = incoming_name(database, run)
    close_to_others(admin, name)
    tag = Tag(standing=Standing.INCOMING, database=database, run=run, at=at, proven=proven)
    admin.execute(tag_statement(name, tag))


def close_to_others(admin: psycopg.Connection[Any], name: str) -> None:
    """Leave nobody but the owner a right on the database `name`."""
    grantees = admin.execute(
        "SELECT DISTINCT pg_get_userbyid(a.grantee)::text FROM pg_database d, aclexplode(d.datacl) AS a "
        "WHERE d.datname = %s AND a.grantee <> 0 AND a.grantee <> d.datdba",
        [name],
    ).fetchall()
    admin.execute(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(Identifier(name)))
    for (grantee,) in grantees:
        admin.execute(SQL("REVOKE ALL ON DATABASE {} FROM {}").format(Identifier(name), Identifier(grantee)))


def is_closed(admin: psycopg.Connection[Any], name: str) -> bool:
    """Whether only the owner of the database `name` has a right on it."""
    row = admin.execute(
        "SELECT bool_and(a.grantee = d.datdba) FROM pg_database d, "
        "aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a WHERE d.datname = %s",
        [name],
    ).fetchone()
    return bool(row and row[0])


def drop_made(admin: psycopg.Connection[Any], name: str, run: RunId) -> bool:
    """Drop a database that `run` made; False when it is not there.

    Raises:
        Refused: the name does not derive from `run`, or its tag says another run's; nothing is dropped.
        StepFailed: a session keeps it busy that this role may not end.
    """
    if not name.endswith(tuple(f"__{standing}_{run}" for standing in Standing)):
        raise Refused(f"database '{name}' was not made by {run}; it is not dropped")
    if not exists(admin, name):
        return False
    tag = read_tag(admin, name)
    if tag is not None and tag.run != run:
        raise Refused(f"database '{name}' is tagged as made by {tag.run}, not by {run}; it is not dropped")
    try:
        admin.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
    except (psycopg.errors.ObjectInUse, psycopg.errors.InsufficientPrivilege) as error:
        words = error.diag.message_primary or "refused"
        raise StepFailed(
            f"database '{name}' cannot be dropped yet ({words}); end its sessions first"
        ) from error
    return True


def encoding_of(connection: psycopg.Connection[Any]) -> str:
    """The encoding of the database of `connection`."""
    row = connection.execute(
        "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    return str(row[0]) if row else "UTF8"


def _locale(admin: psycopg.Connection[Any], database: str) -> Composable:
    """The locale options of `database`; the catalog's columns differ between PostgreSQL 16 and 17."""
    with admin.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "SELECT to_jsonb(d) AS d FROM pg_database d WHERE datname = %s", [database]
        ).fetchone()
    if row is None:
        raise StepFailed(f"database '{database}' does not exist on the server")
    told: Mapping[str, Any] = row["d"]
    locale = told.get("datlocale") or told.get("daticulocale")
    options = [
        SQL("LC_COLLATE {} LC_CTYPE {}").format(Literal(told["datcollate"]), Literal(told["datctype"]))
    ]
    match told["datlocprovider"]:
        case "i":
            options.append(SQL("LOCALE_PROVIDER icu ICU_LOCALE {}").format(Literal(locale)))
            rules = told.get("daticurules")
            if rules:
                options.append(SQL("ICU_RULES {}").format(Literal(rules)))
        case "b":
            options.append(SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(Literal(locale)))
        case _:
            options.append(SQL("LOCALE_PROVIDER libc").format())
    return SQL(" ").join(options)
