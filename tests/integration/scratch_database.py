"""A database of its own for a test, on a cluster of the session, gone afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.sql import SQL, Identifier

from infra.stack.cluster import Cluster


@contextmanager
def scratch_database(cluster: Cluster, *statements: str) -> Iterator[psycopg.Connection]:
    """An autocommit superuser's session in a new database in which `statements` were run."""
    name = f"scratch_{secrets.token_hex(4)}"
    with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))
        try:
            with psycopg.connect(cluster.dsn(name), autocommit=True) as session:
                for statement in statements:
                    session.execute(statement.encode())
                yield session
        finally:
            admin.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
