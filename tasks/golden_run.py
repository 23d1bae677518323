"""Golden builds as Prefect runs: the sweep asks for what is due, one flow run builds it.

Invariant: the ledger decides who builds; a Prefect run too many finds the claim taken and ends.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from policy.names import CustomerName, ServerName
from tasks.golden import due_builds
from tasks.golden_build import build_images
from tasks.logs import quiet_logs
from tasks.prefect_runs import make_run
from tasks.world import World, open_world

log = logging.getLogger("freshet.golden")


def run_build(customer: str, server: str) -> None:
    """Build, telling the log; the body of the flow `golden`.

    Raises:
        Refused: something keeps the build from beginning.
        Busy: another builder is at it.
        StepFailed: it failed.
        Unavailable: a server or the ledger does not answer.
    """
    world = open_world()
    quiet_logs(world)
    build_images(
        world,
        CustomerName(customer),
        lambda line: log.info("%s", line, extra={"action": "golden"}),
        server=ServerName(server) if server else None,
    )


def ask_due(world: World, *, dry_run: bool) -> Iterator[str]:
    """Make a Prefect run for every build that is due; the same one is asked for once.

    Yields:
        A line for each.

    Raises:
        Unavailable: Prefect, a server or the ledger does not answer.
    """
    for customer, server, since in due_builds(world):
        told = f"images of {customer} on {server}, due since {since:%Y-%m-%d %H:%M} UTC"
        if dry_run:
            yield f"would build {told}"
            continue
        # An hour's worth of runs that died is enough to ask once more.
        hour = world.clock.now().strftime("%Y%m%d%H")
        make_run(
            world.settings.prefect_api,
            "golden/golden",
            name=f"golden images of {customer} on {server}",
            parameters={"customer": customer, "server": server},
            at=None,
            key=f"golden-{customer}-{server}-{hour}",
            tags=[f"customer:{customer}", "golden"],
        )
        yield f"asked Prefect to build {told}"
