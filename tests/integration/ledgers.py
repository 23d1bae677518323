"""A ledger of its own for a test, in a fresh database of the trial cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import psycopg
from psycopg.sql import SQL, Identifier

from infra.ledger.connection import Ledger
from infra.ledger.migrate import migrate
from infra.stack.cluster import Cluster

_numbers = count(1)
_templates: dict[str, str] = {}


@contextmanager
def fresh_ledger(cluster: Cluster) -> Iterator[Ledger]:
    """A migrated ledger in a new database, dropped afterwards."""
    name = f"ledger_{next(_numbers)}"
    with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
        admin.execute(
            SQL("create database {} template {}").format(
                Identifier(name), Identifier(_template(cluster, admin))
            )
        )
        try:
            yield Ledger(cluster.dsn(name))
        finally:
            admin.execute(SQL("drop database {} with (force)").format(Identifier(name)))


def _template(cluster: Cluster, admin: psycopg.Connection) -> str:
    """The database that ledgers on `cluster` are copied from, migrated once."""
    name = _templates.get(cluster.dsn())
    if name is None:
        name = _templates[cluster.dsn()] = f"ledger_template_{next(_numbers)}"
        admin.execute(SQL("create database {}").format(Identifier(name)))
        migrate(cluster.dsn(name), None)
    return name
