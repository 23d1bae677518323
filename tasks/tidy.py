"""Tidy: databases that runs left behind and nobody needs any more, and folders of runs long over.

Invariant: a database is dropped only when its name and its tag agree, its run is this ledger's and worked on
that very database of that server, the run has ended and is not stuck, nobody asked for it back, and its time
is over. Look-alikes of others survive; what is dropped, and what nobody knows, is said.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from infra.ledger.connection import Connection
from infra.postgres.incoming import drop_made
from infra.postgres.session import connect
from infra.postgres.tag import Standing, TaggedDatabase, tagged
from policy.errors import Refused, StepFailed, Unavailable
from policy.estate import Estate
from policy.machines import DatabaseServer
from policy.names import RunId
from tasks.end_leftovers import forget_secrets
from tasks.errand import FOLDER as ERRAND
from tasks.golden_claim import FOLDER as GOLDEN
from tasks.settle import settle
from tasks.world import World

SNAPSHOTS_KEPT = timedelta(days=1)
"""After a good upgrade its snapshots are of no use for a put-back, but a look back may be wanted."""

FOLDERS_KEPT = timedelta(days=90)

SECRETS_KEPT = timedelta(days=1)
"""In the folder of an errand or of a build of an image; what writes one there ends within hours."""


def tidy(world: World, *, dry_run: bool) -> Iterator[str]:
    """Drop what is due on every server, and old run folders.

    Args:
        world: the ledger and the estate.
        dry_run: only say what would be dropped.

    Yields:
        A line for each thing dropped, or that could not be.
    """
    estate = world.estate()
    now = world.clock.now()
    for server in estate.servers.values():
        try:
            with connect(
                server, "postgres", server.owner, world.secrets, run="sweep", autocommit=True
            ) as admin:
                for found in tagged(admin):
                    yield from _judge(world, admin, server, found, now, dry_run=dry_run)
        except (Unavailable, psycopg.Error) as error:
            words = error if isinstance(error, Unavailable) else type(error).__name__
            yield f"{server.name}: could not be tidied ({words}); the next sweep tries again"
    yield from _folders(world, now, dry_run=dry_run)
    if not dry_run:
        yield from settle(world)


def _judge(
    world: World,
    admin: psycopg.Connection,
    server: DatabaseServer,
    found: TaggedDatabase,
    now: datetime,
    *,
    dry_run: bool,
) -> Iterator[str]:
    told = f"{found.name} on {server.name} ({found.bytes} bytes)"
    estate = world.estate()
    with world.ledger.transaction() as connection:
        if not _ours(connection, server, found):
            if _declared(estate, server, found):
                yield f"left alone: {told}: this ledger knows no such run; look whose it is"
            return
        ended = _ended_at(connection, found.tag.run)
        wanted = found.tag.standing is Standing.PREVIOUS and _wanted_back(connection, found.tag.run)
    if wanted or ended is None or ended + _kept(estate, found.tag.standing) > now:
        return
    if dry_run:
        yield f"would drop {told}"
        return
    try:
        drop_made(admin, found.name, found.tag.run)
    except (Refused, StepFailed) as error:
        yield f"{server.name}: {error}"
    else:
        yield f"dropped {told}"


def _kept(estate: Estate, standing: Standing) -> timedelta:
    return {
        Standing.INCOMING: timedelta(0),
        Standing.SNAPSHOT: SNAPSHOTS_KEPT,
        Standing.PREVIOUS: estate.undo,
        Standing.FAILED: estate.undo,
    }[standing]


def _ours(connection: Connection, server: DatabaseServer, found: TaggedDatabase) -> bool:
    """Two installations may share a server and count their runs alike; each knows on what its own worked."""
    return (
        connection.execute(
            "select 1 from run_database where run = %s and server = %s and database = %s",
            (found.tag.run, server.name, found.tag.database),
        ).fetchone()
        is not None
    )


def _declared(estate: Estate, server: DatabaseServer, found: TaggedDatabase) -> bool:
    return any(
        site.server == server.name and site.database == found.tag.database
        for customer in estate.customers.values()
        for site in customer.sites.values()
    )


def _wanted_back(connection: Connection, run: RunId) -> bool:
    """Whether an undo was asked for, in time, and has not ended yet, or is stuck and waits for a person."""
    return (
        connection.execute(
            "select 1 from request where undoes = %s and (outcome is null"
            " or exists (select from run where run.request = request.number and run.state = 'stuck'))",
            (run.request.number,),
        ).fetchone()
        is not None
    )


def _ended_at(connection: Connection, run: RunId) -> datetime | None:
    row = connection.execute("select ended_at from run where id = %s and state = 'ended'", (run,)).fetchone()
    if row is None:
        return None
    cell: dict[str, Any] = dict(row)
    ended: datetime | None = cell["ended_at"]
    return ended


def _folders(world: World, now: datetime, *, dry_run: bool) -> Iterator[str]:
    if not world.settings.run_dir.is_dir():
        return
    for pattern in (f"*{ERRAND}", f"{GOLDEN}*"):
        for folder in sorted(world.settings.run_dir.glob(pattern)):
            yield from _abandoned(folder, now, dry_run=dry_run)
    for folder in sorted(world.settings.run_dir.iterdir()):
        if not folder.is_dir() or RunId.pattern.fullmatch(folder.name) is None:
            continue
        with world.ledger.transaction() as connection:
            ended = _ended_at(connection, RunId(folder.name))
        if ended is not None and ended + FOLDERS_KEPT <= now:
            if not dry_run:
                shutil.rmtree(folder)
            yield f"{'would remove' if dry_run else 'removed'} the folder of {folder.name}"


def _abandoned(folder: Path, now: datetime, *, dry_run: bool) -> Iterator[str]:
    """An errand or a build of an image that was killed left its folder; nobody takes those over."""
    rests = now - datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    if rests >= SECRETS_KEPT and not dry_run and forget_secrets(folder):
        yield f"removed passwords from {folder.name}, where something was killed"
    if rests >= FOLDERS_KEPT:
        if not dry_run:
            shutil.rmtree(folder)
        yield f"{'would remove' if dry_run else 'removed'} the folder {folder.name}"
