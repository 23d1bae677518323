"""The database roles with the least right that each needs, and the stack's own databases.

Invariant: no role made here is a superuser, and no password travels or is logged in clear: the server gets
the SCRAM verifier only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from infra.postgres.fences import SIGN
from infra.secrets import SecretFiles
from policy.names import SecretName


@dataclass(frozen=True, kw_only=True)
class DatabaseRole:
    """A role that can log in.

    Attributes:
        creates_databases: may create, and own, databases.
        member_of: predefined roles of PostgreSQL that it belongs to.
        read_only: its sessions begin read-only (a courtesy; the fence is that it owns nothing).
        database: a database of its own that nobody else may enter.
        extensions: what its own database needs and only a superuser may create.
    """

    name: str
    secret: SecretName
    creates_databases: bool = False
    member_of: tuple[str, ...] = ()
    read_only: bool = False
    database: str | None = None
    extensions: tuple[str, ...] = ()


OWNER_GROUPS = ("pg_signal_backend",)
"""An owner ends the sessions on a database before it renames it."""
READER_GROUPS = ("pg_read_all_data", "pg_read_all_stats")
"""A reader reads every row of every database, sees who is at work, and can write nothing (fence four)."""


def establish(admin: psycopg.Connection, roles: Sequence[DatabaseRole], secrets: SecretFiles) -> None:
    """Bring the server's roles and databases to what `roles` say; harmless when they are so already.

    Args:
        admin: a superuser's connection, in autocommit.
        roles: what there must be.
        secrets: where the passwords are kept.
    """
    for role in roles:
        name = sql.Identifier(role.name)
        if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role.name]).fetchone() is None:
            admin.execute(sql.SQL("CREATE ROLE {}").format(name))
        verifier = admin.pgconn.encrypt_password(
            secrets.read(role.secret).get_secret_value().encode(), role.name.encode(), b"scram-sha-256"
        )
        rights = sql.SQL("CREATEDB" if role.creates_databases else "NOCREATEDB")
        admin.execute(
            sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEROLE NOREPLICATION {} PASSWORD {}").format(
                name, rights, sql.Literal(verifier.decode())
            )
        )
        for group in role.member_of:
            admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), name))
        if role.read_only:
            admin.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(name))
        if role.database is not None:
            _own_database(admin, role.database, name)


def _own_database(admin: psycopg.Connection, database: str, owner: sql.Identifier) -> None:
    name = sql.Identifier(database)
    if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, owner))
    admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))


def extend(admin: psycopg.Connection, extensions: Sequence[str]) -> None:
    """Create `extensions` in the database that `admin`, a superuser, is connected to."""
    for extension in extensions:
        admin.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension)))


def sign(admin: psycopg.Connection) -> None:
    """Put up the sign of Production: a server that carries it is never written to by a refresh."""
    if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [SIGN]).fetchone() is None:
        admin.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(SIGN)))
