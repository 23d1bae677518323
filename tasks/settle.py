"""Settle what Prefect shows: a run that it lost sight of gets the end that the ledger knows.

Invariant: the ledger is told nothing and nothing is decided here; a Prefect that is away is told later.
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.ledger import displays, requests
from policy.errors import Unavailable
from tasks.prefect_runs import settle_run
from tasks.world import World


def settle(world: World) -> Iterator[str]:
    """Compare Prefect's runs of ended requests with the ledger, once each.

    Yields:
        A line for each run that was corrected, or one that Prefect does not answer.
    """
    with world.ledger.transaction() as connection:
        ended = [(shown, requests.get(connection, shown.request)) for shown in displays.ended(connection)]
    for shown, request in ended:
        if request.outcome is None:
            continue
        message = request.reason or f"{request.id} {request.site}: {request.status.value}"
        try:
            changed = settle_run(world.settings.prefect_api, shown.flow_run, request.outcome, message)
        except Unavailable as away:
            yield f"what Prefect shows was not compared ({away}); the next sweep tries again"
            return
        with world.ledger.transaction() as connection:
            displays.withdraw(connection, shown)
        if changed:
            yield f"Prefect shows now that {request.id} ended: {request.outcome.value}"
