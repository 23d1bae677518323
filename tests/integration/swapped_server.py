"""A server with one database that serves, beside which runs make theirs to be swapped with it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg.sql import SQL, Identifier

from infra.postgres.incoming import create_incoming
from infra.stack.cluster import Cluster
from policy.names import DatabaseName, RunId

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
RUN, LATER = RunId("r1a1"), RunId("r2a1")


@dataclass
class Server:
    """A cluster with one database that serves, and a role that owns it and is no superuser."""

    cluster: Cluster
    database: DatabaseName
    owner: str

    @property
    def user(self) -> str:
        """A role that owns nothing."""
        return self.owner.replace("owner", "user")

    def open(self, database: str = "postgres", *, role: str | None = None) -> psycopg.Connection:
        return psycopg.connect(
            self.cluster.dsn(database, role or self.owner), password="open", autocommit=True
        )

    def ask(self, statement: str, database: str | None = None) -> object:
        with self.open(database or self.database) as session:
            row = session.execute(statement.encode()).fetchone()
        return row[0] if row else None

    def incoming(self, run: RunId = RUN) -> str:
        with self.open() as session:
            name = create_incoming(session, self.database, run, at=NOW, encoding="UTF8")
        with self.open(name) as session:
            session.execute("CREATE TABLE word AS SELECT 'new' AS word")
        return name


@contextmanager
def served(cluster: Cluster) -> Iterator[Server]:
    """A server whose database serves, gone afterwards with everything that was made beside it."""
    word = secrets.token_hex(4)
    made = Server(cluster, DatabaseName(f"swap_{word}"), f"owner_{word}")
    with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
        for role in (made.owner, f"user_{word}"):
            admin.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'open'").format(Identifier(role)))
        admin.execute(SQL("ALTER ROLE {} CREATEDB").format(Identifier(made.owner)))
        admin.execute(SQL("GRANT pg_signal_backend TO {}").format(Identifier(made.owner)))
        admin.execute(
            SQL("CREATE DATABASE {} OWNER {}").format(Identifier(made.database), Identifier(made.owner))
        )
        with made.open(made.database) as session:
            session.execute("CREATE TABLE word AS SELECT 'old' AS word")
        try:
            yield made
        finally:
            names = admin.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"%{word}%"]
            ).fetchall()
            for (name,) in names:
                admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
            for role in (made.owner, f"user_{word}"):
                admin.execute(SQL("DROP OWNED BY {}").format(Identifier(role)))
                admin.execute(SQL("DROP ROLE {}").format(Identifier(role)))
