"""Tidy: databases that runs left behind and nobody needs any more, and folders of runs long over.

Invariant: a database is dropped only when its name and its tag agree, this ledger knows its run, the run has
ended and is not stuck, and its time is over. Look-alikes of others survive; what is dropped is said.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from infra.ledger.connection import Connection
from infra.postgres.incoming import drop_made
from infra.postgres.session import connect
from infra.postgres.tag import Standing, TaggedDatabase, tagged
from policy.errors import Refused, StepFailed, Unavailable
from policy.estate import Estate
from policy.names import RunId
from tasks.world import World

SNAPSHOTS_KEPT = timedelta(days=1)
"""After a good upgrade its snapshots are of no use for a put-back, but a look back may be wanted."""

FOLDERS_KEPT = timedelta(days=90)


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
                    if not _is_due(world, estate, found, now):
                        continue
                    if dry_run:
                        yield f"would drop {found.name} on {server.name} ({found.bytes} bytes)"
                    else:
                        drop_made(admin, found.name, found.tag.run)
                        yield f"dropped {found.name} on {server.name} ({found.bytes} bytes)"
        except (Unavailable, Refused, StepFailed) as error:
            yield f"{server.name}: {error}"
    yield from _folders(world, now, dry_run=dry_run)


def _is_due(world: World, estate: Estate, found: TaggedDatabase, now: datetime) -> bool:
    with world.ledger.transaction() as connection:
        ended = _ended_at(connection, found.tag.run)
    if ended is None:
        return False
    kept = {
        Standing.INCOMING: timedelta(0),
        Standing.SNAPSHOT: SNAPSHOTS_KEPT,
        Standing.PREVIOUS: estate.undo,
        Standing.FAILED: estate.undo,
    }[found.tag.standing]
    return ended + kept <= now


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
    for folder in sorted(world.settings.run_dir.iterdir()):
        if not folder.is_dir() or RunId.pattern.fullmatch(folder.name) is None:
            continue
        with world.ledger.transaction() as connection:
            ended = _ended_at(connection, RunId(folder.name))
        if ended is not None and ended + FOLDERS_KEPT <= now:
            if not dry_run:
                shutil.rmtree(folder)
            yield f"{'would remove' if dry_run else 'removed'} the folder of {folder.name}"
