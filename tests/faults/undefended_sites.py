"""Takes out of a worker what guards a site while it is worked on: room, place, sessions, names, copies.

Invariant: as `tests.faults.undefended`, whose table takes them up: each takes out one defence and no other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

import infra.postgres.backends
import infra.postgres.dress
import infra.postgres.incoming
import infra.postgres.preflight
import policy.names
import tasks.snapshots
from policy.names import DatabaseName, RunId


def everywhere(original: object, by: object) -> None:
    """Put `by` into the place of `original`, also where it was imported by name."""
    name = getattr(original, "__name__", "")
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and getattr(module, name, None) is original:
            setattr(module, name, by)


def put(owner: object, name: str, by: object) -> None:
    """Put `by` into the place of `owner`'s `name`; what is not there would not be taken out."""
    assert hasattr(owner, name), f"{owner} has no {name}: the defence lies elsewhere now"
    setattr(owner, name, by)


def _room() -> None:
    """Nobody asks how much room there is."""

    def unknown(_job: object, _target: object) -> None:
        return None

    everywhere(infra.postgres.preflight._spare, unknown)


def _aside() -> None:
    """The copy goes straight into the site's database, which is emptied for it."""

    def in_place(database: DatabaseName, _run: RunId) -> str:
        return str(database)

    def emptied(admin: psycopg.Connection[Any], name: str, _run: RunId) -> bool:
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))
        return True

    everywhere(policy.names.incoming_name, in_place)
    everywhere(infra.postgres.incoming.drop_made, emptied)


def _ended_sessions() -> None:
    """The swap waits for sessions and ends none."""

    def none(_session: psycopg.Connection[Any], _databases: Sequence[str], *, wait_ms: int = 0) -> int:
        return 0

    everywhere(infra.postgres.backends.end_sessions, none)


def _identifiers() -> None:
    """The names in what a database wears stand in SQL as they are."""
    put(infra.postgres.dress, "Identifier", SQL)


def _restore() -> None:
    """A put-back leaves the databases as the migration left them."""

    def leave(_kept: tasks.snapshots.Kept) -> None:
        return None

    put(tasks.snapshots.Kept, "restore", leave)


AT_SITES: Mapping[str, Callable[[], None]] = {
    "room": _room,
    "aside": _aside,
    "ended sessions": _ended_sessions,
    "identifiers": _identifiers,
    "restore": _restore,
}
