"""Bring the ledger's schema up to date: files in order, each once, all or nothing.

Invariant: a file that was applied is never edited; its digest is compared at every start.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import psycopg

from infra.ledger.connection import Ledger
from policy.errors import Refused
from policy.lifecycle import legal_pairs


def _files() -> list[tuple[str, str]]:
    folder = resources.files("infra.ledger") / "migrations"
    return sorted((entry.name, entry.read_text(encoding="utf-8")) for entry in folder.iterdir())


def migrate(conninfo: str, passfile: Path | None) -> list[str]:
    """Apply what is missing and write the lifecycle's transitions into the database.

    Args:
        conninfo: the ledger's connection string, without a password.
        passfile: libpq password file, or None.

    Returns:
        The names of the files applied now, in order.

    Raises:
        Refused: a file that was applied before has been changed since.
        Unavailable: the ledger does not answer.
    """
    applied_now: list[str] = []
    with Ledger(conninfo, passfile).transaction() as connection:
        connection.execute("select pg_advisory_xact_lock(hashtext('freshet.migrate'))")
        connection.execute(
            "create table if not exists migration (name text primary key, digest text not null,"
            " at timestamptz not null default now())"
        )
        known: dict[str, str] = {
            str(row["name"]): str(row["digest"])
            for row in connection.execute("select name, digest from migration")
        }
        for name, text in _files():
            digest = hashlib.sha256(text.encode()).hexdigest()
            if name in known:
                if known[name] != digest:
                    raise Refused(f"ledger migration {name} was changed after it was applied; add a new file")
                continue
            # The files ship with this package, so their text is as trusted as this module.
            connection.execute(text)
            connection.execute("insert into migration (name, digest) values (%s, %s)", (name, digest))
            applied_now.append(name)
        _write_transitions(connection)
    return applied_now


def _write_transitions(connection: psycopg.Connection[dict[str, object]]) -> None:
    connection.execute("delete from transition")
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into transition values (%s, %s, %s, %s)",
            [
                (
                    before.value,
                    "" if outcome is None else outcome.value,
                    after.value,
                    "" if ended is None else ended.value,
                )
                for before, outcome, after, ended in sorted(legal_pairs(), key=str)
            ],
        )
