"""Drop snapshots that hold a whole server, and what a put-back set aside, once nobody needs them any more.

They are no databases and lie in no run's folder, so each server that may have some is asked for what the
run's name leads to; it is noted in the ledger, so that this is done once.

Invariant: nothing of a run that has not ended, or is stuck, is touched, and nothing while another run works
on the same web application.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from infra.ledger import requests
from infra.ledger.connection import Connection
from infra.postgres.cluster_file import FILE, load_clusters
from infra.postgres.snapshot_rds import SUFFIXES
from policy.estate import Estate
from policy.names import RunId
from policy.request import Kind
from tasks.drop_dumps import KEPT
from tasks.errand import errand
from tasks.owed import Owed, see_to
from tasks.snapshots import kept
from tasks.world import World

log = logging.getLogger("freshet.sweep")

VERB = "cleared_copies"
"""The event that says that a run's copies of whole servers are gone."""


def drop_copies(world: World, *, dry_run: bool) -> Iterator[str]:
    """Remove copies of whole servers: a day after a good end, after the undo period when it was put back.

    Args:
        world: the ledger and the estate.
        dry_run: only say what would be removed.

    Yields:
        A line for each thing removed or left, or that could not be removed.
    """
    estate = world.estate()
    servers = _servers(world, estate)
    if not servers:
        return
    with world.ledger.transaction() as connection:
        due = _due(connection, world.clock.now(), estate, servers)
    owed = (
        Owed(
            run=run,
            webapp=webapp,
            would=f"would look for copies of whole servers that {run} left",
            act=partial(_clear, world, run),
            undone="its copies could not be removed",
        )
        for run, webapp in due
    )
    yield from see_to(world, owed, verb=VERB, dry_run=dry_run)


def _servers(world: World, estate: Estate) -> list[str]:
    """The servers of which there may be a copy as a whole."""
    declared = set(load_clusters(world.settings.estate.parent / FILE, estate))
    return [
        str(name)
        for name, server in estate.servers.items()
        if name in declared or server.host.endswith(SUFFIXES)
    ]


def _due(
    connection: Connection, now: datetime, estate: Estate, servers: list[str]
) -> list[tuple[RunId, str]]:
    rows = connection.execute(
        "select run.id, run.webapp from run join request on request.number = run.request"
        " where request.kind = %s and run.state = 'ended'"
        " and run.ended_at + case when request.outcome = 'done' then %s else %s end <= %s"
        " and exists (select from run_database d where d.run = run.id and d.server = any (%s))"
        " and not exists (select from event where event.run = run.id and event.verb = %s)"
        " order by run.ended_at",
        (Kind.UPGRADE.value, KEPT, max(KEPT, estate.undo), now, servers, VERB),
    ).fetchall()
    found = []
    for row in rows:
        cell: dict[str, Any] = dict(row)
        found.append((RunId(cell["id"]), str(cell["webapp"])))
    return found


def _clear(world: World, run: RunId) -> Iterator[str]:
    with world.ledger.transaction() as connection:
        request = requests.get(connection, run.request)
    with errand(world, request, run, lambda text: log.info("%s", text)) as work:
        for keep in kept(work):
            for part in keep.whole:
                yield from part.clear()
