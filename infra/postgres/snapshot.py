"""Snapshots of a database: what a put-back restores.

Invariant: a snapshot's name says which run took it, it is proven readable before anything is changed, and it is
renamed into place when it is restored, so that restoring costs no copying and cannot fail half-way.
"""

from __future__ import annotations

import psycopg
from psycopg.sql import SQL, Identifier

from policy.errors import NeedsHuman, StepFailed
from policy.names import DatabaseName, RunId, failed_name, snapshot_name

Admin = psycopg.Connection[tuple[object, ...]]


def exists(admin: Admin, database: str) -> bool:
    """Whether `database` exists on the server."""
    return admin.execute("select 1 from pg_database where datname = %s", (database,)).fetchone() is not None


def size(admin: Admin, database: str) -> int:
    """The size of `database` in bytes."""
    row = admin.execute("select pg_database_size(%s::name)", (database,)).fetchone()
    return 0 if row is None else int(str(row[0]))


def take(admin: Admin, database: DatabaseName, run: RunId) -> int:
    """Copy `database` on its own server, closed to everybody, and prove the copy readable.

    The database must have no sessions: the application is stopped before.

    Args:
        admin: an autocommit session in another database of the server, as the databases' owner.
        database: what is copied.
        run: for whom.

    Returns:
        The snapshot's size in bytes.

    Raises:
        StepFailed: a session keeps the database busy, or the copy differs in size.
    """
    name = snapshot_name(database, run)
    end_sessions(admin, database)
    try:
        admin.execute(
            SQL("create database {} template {} strategy file_copy allow_connections false").format(
                Identifier(name), Identifier(database)
            )
        )
    except psycopg.errors.ObjectInUse as error:
        raise StepFailed(f"database '{database}': a session keeps it busy, so no snapshot can be taken") from error
    original, copy = size(admin, database), size(admin, name)
    if copy < original * 0.9:
        raise StepFailed(f"database '{database}': its snapshot has {copy} bytes instead of {original}")
    return copy


def restore(admin: Admin, database: DatabaseName, run: RunId) -> bool:
    """Put the snapshot of `run` in the database's place; what the run made of it is kept as evidence.

    Returns:
        False when there is no snapshot and nothing was taken away: the database is as it was.

    Raises:
        NeedsHuman: neither the database nor its snapshot is there.
    """
    snapshot, failed = snapshot_name(database, run), failed_name(database, run)
    if not exists(admin, snapshot):
        if exists(admin, database):
            return False
        raise NeedsHuman(
            f"database '{database}' is gone and so is its snapshot '{snapshot}'; look for '{failed}' on the server"
        )
    end_sessions(admin, database)
    with admin.transaction():
        if exists(admin, database):
            admin.execute(SQL("alter database {} rename to {}").format(Identifier(database), Identifier(failed)))
        admin.execute(SQL("alter database {} rename to {}").format(Identifier(snapshot), Identifier(database)))
    admin.execute(SQL("alter database {} allow_connections true").format(Identifier(database)))
    return True


def drop(admin: Admin, database: DatabaseName, run: RunId) -> bool:
    """Drop the snapshot of `run`; False when there is none."""
    return drop_database(admin, snapshot_name(database, run))


def drop_database(admin: Admin, name: str) -> bool:
    """Drop a database that nobody is meant to use, sessions included; False when there is none."""
    if not exists(admin, name):
        return False
    admin.execute(SQL("drop database {} with (force)").format(Identifier(name)))
    return True


def end_sessions(admin: Admin, database: str) -> int:
    """End every session in `database` and wait for each; returns how many there were."""
    row = admin.execute(
        "select count(*) filter (where pg_terminate_backend(pid, 5000)) from pg_stat_activity"
        " where datname = %s and pid <> pg_backend_pid() and backend_type = 'client backend'",
        (database,),
    ).fetchone()
    return 0 if row is None else int(str(row[0]))
