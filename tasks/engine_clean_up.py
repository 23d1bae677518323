"""Clean up after a server's change of version: the old directory goes when its undo period is over.

Invariant: only what the finished run itself left is removed, only while the new version serves, and never
while another run works on the same web application; it is noted in the ledger, so it is done once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from infra.ledger import requests
from infra.ledger.connection import Connection
from policy.names import RunId
from policy.request import Kind
from tasks.engine_stages import engine_of, engine_stages
from tasks.errand import errand
from tasks.owed import Owed, see_to
from tasks.world import World

log = logging.getLogger("freshet.sweep")

VERB = "cleaned_up"
"""The event that says that a run's old directory is gone."""


def clean_up_engines(world: World, *, dry_run: bool) -> Iterator[str]:
    """Remove the old directories of upgrades whose undo period is over.

    Args:
        world: the ledger and the estate.
        dry_run: only say what would be removed.

    Yields:
        A line for each directory that was removed, or could not be.
    """
    with world.ledger.transaction() as connection:
        due = _due(connection, world.clock.now(), world.estate().undo)
    owed = (
        Owed(
            run=run,
            webapp=webapp,
            would=f"would remove {old_data or 'the old directory'}, which {run} left",
            act=partial(_clean_up, world, run, old_data),
            undone="its old directory could not be removed",
        )
        for run, webapp, old_data in due
    )
    yield from see_to(world, owed, verb=VERB, dry_run=dry_run)


def _due(connection: Connection, now: datetime, undo: timedelta) -> list[tuple[RunId, str, str]]:
    rows = connection.execute(
        "select run.id, run.webapp, coalesce(step.facts ->> 'old_data', '') as old_data from run"
        " join request on request.number = run.request"
        " join step on step.run = run.id and step.name = 'upgrade_engine'"
        " where request.kind = %s and request.outcome = 'done' and run.state = 'ended'"
        # A worker that took the run over may have found the step done; then its facts are few.
        " and run.ended_at + %s <= %s and coalesce((step.facts ->> 'changed')::int, 1) > 0"
        " and not exists (select from event where event.run = run.id and event.verb = %s)"
        " order by run.ended_at",
        (Kind.ENGINE.value, undo, now, VERB),
    ).fetchall()
    found = []
    for row in rows:
        cell: dict[str, Any] = dict(row)
        found.append((RunId(cell["id"]), str(cell["webapp"]), str(cell["old_data"])))
    return found


def _clean_up(world: World, run: RunId, old_data: str) -> Iterator[str]:
    with world.ledger.transaction() as connection:
        request = requests.get(connection, run.request)
    with errand(world, request, run, lambda text: log.info("%s", text)) as work:
        engine = engine_of(work)
        if engine.old.data != (old_data or engine.old.data):
            # What is declared now is another upgrade: this one's directory is not its to remove.
            yield f"{old_data} is no longer declared as the old directory; remove it by hand"
        else:
            result = engine_stages(work, engine, "clean_up")
            yield f"removed {engine.old.data} ({result.changed} changes)"
