"""Wake the long-lived parts: a loop whose last beat is old gets a new Prefect run.

Invariant: waking one that is alive after all is harmless; the newer one goes on and the older one ends.
"""

from __future__ import annotations

import time
from datetime import timedelta

from tasks.prefect_runs import make_run
from tasks.world import World

LOOPS = ("intake", "dispatch", "deliver")

SILENT = timedelta(seconds=90)
"""Longer than the longest round: a long poll, or a mail server that lets us wait."""


def silent_loops(world: World) -> list[str]:
    """The loops that have not beaten lately."""
    with world.ledger.transaction() as connection:
        rows = connection.execute(
            "select name from loop where beat_at > now() - %s::interval", (SILENT,)
        ).fetchall()
    alive = {str(row["name"]) for row in rows}
    return [name for name in LOOPS if name not in alive]


def wake(world: World) -> list[str]:
    """Start every loop that is silent.

    Returns:
        The names of those that were started.

    Raises:
        Unavailable: Prefect or the ledger does not answer.
    """
    silent = silent_loops(world)
    for name in silent:
        make_run(
            world.settings.prefect_api,
            f"{name}/{name}",
            name=name,
            parameters={},
            at=None,
            key=f"{name}:{int(time.time() // 30)}",
        )
    return silent


def wait_until_awake(world: World, *, patience_s: float) -> list[str]:
    """Wait until every loop beats; returns those that still do not after `patience_s`."""
    ends = time.monotonic() + patience_s
    while (silent := silent_loops(world)) and time.monotonic() < ends:
        time.sleep(0.25)
    return silent
