"""Exchanges the database behind a name for another, in one transaction, under clients that keep coming back.

Invariant: at every instant the name leads to one whole database, the old or the new; a killed worker or
server leaves one of the two. Which one is told by the databases' names.

How sessions are kept out: `ALTER DATABASE … RENAME` locks the database before it waits for the others in it
to leave. So the rename is begun first, and the sessions are ended while it holds the lock: nobody slips in
between, which is what makes ending first and renaming second fail under busy clients.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from infra.postgres.backends import end_sessions, whose_sessions
from infra.postgres.dress import dress_statements, read_dress
from infra.postgres.incoming import exists
from infra.postgres.tag import Standing, Tag, read_tag, tag_statement
from policy.errors import Refused, StepFailed, Unavailable
from policy.names import DatabaseName, RunId, failed_name, incoming_name, previous_name

Open = Callable[[], psycopg.Connection[Any]]
"""Opens an autocommit session in another database of the server, as the owner of the databases."""

_ATTEMPTS = 3
_PAUSE_S = 0.01


@dataclass(frozen=True, kw_only=True)
class SwapReport:
    """What a swap cost.

    Attributes:
        seconds: from the first rename's beginning to the commit: the longest that a client was refused.
        ended: sessions that were ended.
        attempts: how often the rename was begun.
    """

    seconds: float
    ended: int
    attempts: int


def swap(
    open_session: Open, database: DatabaseName, run: RunId, *, at: datetime, release: str = ""
) -> SwapReport:
    """Put the incoming database of `run` in the place of `database`, which is kept as the previous one.

    Args:
        open_session: opens an autocommit session in another database of the server.
        database: the site's.
        run: whose incoming database it is.
        at: the present instant.
        release: what the site's web application runs, which is what the previous one fits.

    Raises:
        Refused: something that a rename would break stands in the database; the remedy.
        StepFailed: a database is not there, sessions could not be ended, or the server refused; nothing was
            changed.
    """
    incoming, previous = incoming_name(database, run), previous_name(database, run)
    with open_session() as session:
        _present(session, database, incoming)
        dress = read_dress(session, database)
        tag = Tag(
            standing=Standing.PREVIOUS,
            database=database,
            run=run,
            at=at,
            comment=dress.comment,
            release=release,
        )
        statements = [
            _rename(database, previous),
            _rename(incoming, database),
            *dress_statements(database, dress),
            tag_statement(previous, tag),
            SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(Identifier(previous)),
        ]
    return _exchange(open_session, [database, incoming], statements)


def swap_back(
    open_session: Open, database: DatabaseName, run: RunId, *, by: RunId, at: datetime
) -> SwapReport:
    """Put the previous database that `run` set aside back; what it replaced is kept under `by`'s failed name.

    Args:
        open_session: opens a session on the server.
        database: the site's database.
        run: the run whose swap is taken back.
        by: the run that takes it back; the same one in a put-back, another one in an undo.
        at: the present instant.

    Raises:
        Refused, StepFailed: as `swap`.
    """
    failed = failed_name(database, by)
    aside = Tag(standing=Standing.FAILED, database=database, run=by, at=at, of=run)
    return _return(open_session, database, previous_name(database, run), aside=failed, tag=aside)


def swap_forward(
    open_session: Open, database: DatabaseName, run: RunId, *, by: RunId, at: datetime
) -> SwapReport:
    """Take back what `swap_back` did for `by`: the data of `run` stand under the site's name again.

    Raises:
        Refused, StepFailed: as `swap`.
    """
    previous = previous_name(database, run)
    aside = Tag(standing=Standing.PREVIOUS, database=database, run=run, at=at)
    return _return(open_session, database, failed_name(database, by), aside=previous, tag=aside)


def _return(open_session: Open, database: DatabaseName, comes: str, *, aside: str, tag: Tag) -> SwapReport:
    """A database that was set aside comes back in what it wore; the present one is set aside and closed."""
    with open_session() as session:
        _present(session, database, comes)
        told = read_tag(session, comes)
        tag = replace(tag, comment=read_dress(session, database).comment)
        statements = [
            _rename(database, aside),
            _rename(comes, database),
            SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(Identifier(database)),
            SQL("COMMENT ON DATABASE {} IS {}").format(
                Identifier(database), Literal(told.comment if told else None)
            ),
            tag_statement(aside, tag),
            SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(Identifier(aside)),
        ]
    return _exchange(open_session, [database, comes], statements)


def is_swapped(admin: psycopg.Connection[Any], database: DatabaseName, run: RunId) -> bool:
    """Whether the data that `run` built stand under the site's name now (and can be swapped back)."""
    return (
        exists(admin, database)
        and exists(admin, previous_name(database, run))
        and not exists(admin, incoming_name(database, run))
    )


def is_swapped_back(admin: psycopg.Connection[Any], database: DatabaseName, run: RunId, *, by: RunId) -> bool:
    """Whether `by` has put back what `run` replaced."""
    return (
        exists(admin, database)
        and exists(admin, failed_name(database, by))
        and not exists(admin, previous_name(database, run))
    )


def check_swap(admin: psycopg.Connection[Any], database: str) -> tuple[str, ...]:
    """What stands in `database` that a swap would break; each with the remedy."""
    found = []
    for (gid,) in admin.execute(
        "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY gid", [database]
    ).fetchall():
        shown = "".join(c if c.isprintable() else "?" for c in gid[:40])
        found.append(
            f"database '{database}': the prepared transaction '{shown}' is open; commit it or roll it back"
        )
    for (slot,) in admin.execute(
        "SELECT slot_name FROM pg_replication_slots WHERE database = %s ORDER BY slot_name", [database]
    ).fetchall():
        found.append(
            f"database '{database}': the replication slot '{slot}' reads it; drop the slot, and make it anew "
            "after the refresh"
        )
    for (count,) in admin.execute(
        "SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = %s",
        [database],
    ).fetchall():
        if count:
            found.append(
                f"database '{database}': it subscribes to {count} publications; drop the subscriptions first"
            )
    return tuple(found)


def _present(session: psycopg.Connection[Any], database: str, aside: str) -> None:
    findings = check_swap(session, database)
    if findings:
        raise Refused(*findings)
    for name in (database, aside):
        if not exists(session, name):
            raise StepFailed(f"database '{name}' does not exist on the server, so nothing can be swapped")


def _rename(old: str, new: str) -> Composed:
    return SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(old), Identifier(new))


def _exchange(open_session: Open, names: Sequence[str], statements: Sequence[Composed]) -> SwapReport:
    ended = 0
    began = time.monotonic()
    with open_session() as renamer, open_session() as ender, ThreadPoolExecutor(1) as pool:
        for attempt in range(1, _ATTEMPTS + 1):
            # A first round, so that long transactions roll back while everybody is still served.
            ended += end_sessions(ender, names)
            began = time.monotonic()
            done = threading.Event()
            future = pool.submit(_in_one_transaction, renamer, statements, done)
            while not done.wait(_PAUSE_S):
                ended += end_sessions(ender, names)
            try:
                future.result()
            except (psycopg.errors.ObjectInUse, psycopg.errors.LockNotAvailable) as error:
                if attempt == _ATTEMPTS:
                    # Not `Busy`: within a run that says that another worker took it over.
                    roles = whose_sessions(ender, names)
                    raise StepFailed(
                        f"database '{names[0]}': sessions of {roles} cannot be ended, so it was not swapped "
                        "and serves on; end them, then try again"
                    ) from error
            except psycopg.OperationalError as error:
                raise Unavailable(
                    f"the server was lost during the swap of database '{names[0]}'; the names tell which "
                    "data stand now, so look before anything else"
                ) from error
            except psycopg.Error as error:
                words = error.diag.message_primary or type(error).__name__
                raise StepFailed(
                    f"database '{names[0]}' was not swapped: {words}; nothing was changed"
                ) from error
            else:
                return SwapReport(seconds=time.monotonic() - began, ended=ended, attempts=attempt)
    raise AssertionError("the last attempt returns or raises")


def _in_one_transaction(
    session: psycopg.Connection[Any], statements: Sequence[Composed], done: threading.Event
) -> None:
    try:
        with session.transaction():
            session.execute("SET LOCAL lock_timeout = '3s'")
            for statement in statements:
                session.execute(statement)
    finally:
        done.set()
