"""Snapshots of a database: what a put-back restores.

Invariant: a snapshot is complete exactly when it carries its tag; it is proven readable before anything is
changed, wears what the database wears, and is renamed into place when it is restored, so that restoring
copies nothing and cannot fail half-way.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from infra.postgres.backends import end_sessions, whose_sessions
from infra.postgres.dress import dress_statements, read_dress
from infra.postgres.incoming import drop_made, exists
from infra.postgres.tag import Standing, Tag, read_tag, tag_statement
from policy.errors import NeedsHuman, StepFailed, Unavailable
from policy.names import DatabaseName, RunId, failed_name, snapshot_name

Admin = psycopg.Connection[Any]

PATIENCE_MS = 5000
"""For so long each session is waited for when it is ended."""
_ALLOW = SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
SMALLEST_SHARE = 0.9
"""A copy much smaller than its original is not one; free space inside files makes small differences."""


def size(admin: Admin, database: str) -> int:
    """The size of `database` in bytes."""
    row = admin.execute("SELECT pg_database_size(%s::name)", [database]).fetchone()
    return 0 if row is None else int(row[0])


def is_taken(admin: Admin, database: DatabaseName, run: RunId) -> bool:
    """Whether `run` has a complete snapshot of `database`."""
    tag = read_tag(admin, snapshot_name(database, run))
    return tag is not None and tag.standing is Standing.SNAPSHOT and tag.run == run


def take(
    admin: Admin, database: DatabaseName, run: RunId, *, at: datetime, strategy: str = "file_copy"
) -> int:
    """Copy `database` on its own server, closed to everybody, and prove the copy readable.

    Args:
        admin: an autocommit session in another database of the server, as the databases' owner.
        database: what is copied; its application is stopped, what sessions are left are ended.
        run: for whom; an incomplete snapshot of it is made anew.
        at: the present instant.
        strategy: how the server copies, `file_copy` or `wal_log`.

    Returns:
        The snapshot's size in bytes.

    Raises:
        StepFailed: the copy is not one.
        Unavailable: a session keeps the database busy.
    """
    name = snapshot_name(database, run)
    drop_made(admin, name, run)
    end_sessions(admin, [database], wait_ms=PATIENCE_MS)
    try:
        admin.execute(
            SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY {} ALLOW_CONNECTIONS false").format(
                Identifier(name), Identifier(database), Identifier(strategy)
            )
        )
    except psycopg.errors.ObjectInUse as error:
        raise _occupied(admin, database, "no snapshot can be taken") from error
    copy = prove(admin, database, run)
    dress = read_dress(admin, database)
    tag = Tag(standing=Standing.SNAPSHOT, database=database, run=run, at=at, comment=dress.comment)
    _together(admin, [*dress_statements(name, dress), tag_statement(name, tag)])
    return copy


def prove(admin: Admin, database: DatabaseName, run: RunId) -> int:
    """Compare the copy with its original; returns its bytes.

    Raises:
        StepFailed: it is not one.
    """
    original, copy = size(admin, database), size(admin, snapshot_name(database, run))
    if copy < original * SMALLEST_SHARE:
        raise StepFailed(f"database '{database}': its snapshot has {copy} bytes instead of {original}")
    return copy


def restore(admin: Admin, database: DatabaseName, run: RunId, *, at: datetime) -> bool:
    """Put the snapshot of `run` in the database's place; what the run made of it is kept as evidence.

    Returns:
        False when there is no complete snapshot: nothing was changed before it was taken, so nothing is
        restored.

    Raises:
        NeedsHuman: neither the database nor its snapshot is there.
        Unavailable: a session keeps the database busy; it is as it was.
    """
    snapshot, failed = snapshot_name(database, run), failed_name(database, run)
    tag = read_tag(admin, snapshot)
    if tag is None:
        if exists(admin, database):
            return False
        raise NeedsHuman(
            f"database '{database}' is gone and so is its snapshot '{snapshot}'; look for '{failed}'"
        )
    statements: list[Composed] = []
    if exists(admin, database):
        statements += [
            SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(database), Identifier(failed)),
            SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(Identifier(failed)),
            tag_statement(failed, Tag(standing=Standing.FAILED, database=database, run=run, at=at)),
        ]
    statements += [
        SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(snapshot), Identifier(database)),
        SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(Identifier(database)),
        SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(database), Literal(tag.comment)),
    ]
    _shut_and_rename(admin, database, statements)
    return True


def is_restored(admin: Admin, database: DatabaseName, run: RunId) -> bool:
    """Whether the snapshot of `run` stands in the database's place, what the run made of it beside."""
    return exists(admin, database) and exists(admin, failed_name(database, run))


def drop(admin: Admin, database: DatabaseName, run: RunId) -> bool:
    """Drop the snapshot of `run`; False when there is none."""
    return drop_made(admin, snapshot_name(database, run), run)


def _shut_and_rename(admin: Admin, database: DatabaseName, statements: list[Composed]) -> None:
    """Nobody comes in between the end of the sessions and the renames."""
    there = exists(admin, database)
    if there:
        admin.execute(_ALLOW.format(Identifier(database), SQL("false")))
    end_sessions(admin, [database], wait_ms=PATIENCE_MS)
    try:
        _together(admin, statements)
    except psycopg.errors.ObjectInUse as error:
        admin.execute(_ALLOW.format(Identifier(database), SQL("true")))
        raise _occupied(admin, database, "its snapshot was not put into its place") from error


def _occupied(admin: Admin, database: DatabaseName, therefore: str) -> Unavailable:
    return Unavailable(
        f"database '{database}': sessions of {whose_sessions(admin, [database])} keep it busy and cannot be "
        f"ended, so {therefore}; end them"
    )


def _together(admin: Admin, statements: list[Composed]) -> None:
    with admin.transaction():
        for statement in statements:
            admin.execute(statement)
