"""Start what is due: every date in the ledger gets its Prefect run, every abandoned run a second worker.

Invariant: Prefect is told, never asked what is true. A Prefect run too many finds the request claimed and
ends; one too few is made in the next round.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from infra.ledger import displays, pauses, requests, runs
from infra.ledger.connection import Connection
from infra.ledger.displays import Shown
from policy.estate import Estate
from policy.request import Request, Status
from tasks.prefect_runs import has_ended, make_run, withdraw_run
from tasks.queue import shortage
from tasks.world import World

log = logging.getLogger("freshet.dispatch")

OVERDUE = timedelta(seconds=10)
"""After this long past its date an unclaimed request's Prefect run is looked at, and replaced if it ended."""


def start_due(world: World) -> int:
    """One round.

    Returns:
        How many Prefect runs were made or withdrawn.

    Raises:
        Unavailable: Prefect or the ledger does not answer; the next round makes up for it.
    """
    estate = world.estate()
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        waiting = _to_announce(connection, estate, now)
        overdue = [
            (request, shown)
            for request, shown in waiting
            if shown is not None
            and request.scheduled_for is not None
            and request.scheduled_for + OVERDUE < now
        ]
        orphans = _abandoned(connection, world.settings.lease_seconds)
        outdated = displays.outdated(connection)
    made = [_announce(world, request, request.scheduled_for) for request, shown in waiting if shown is None]
    made += [_announce(world, request, None) for request in orphans]
    made += [
        _announce(world, request, request.scheduled_for)
        for request, shown in overdue
        if has_ended(world.settings.prefect_api, shown.flow_run)
    ]
    for shown in outdated:
        withdraw_run(world.settings.prefect_api, shown.flow_run, "The request was moved or withdrawn.")
        with world.ledger.transaction() as connection:
            displays.withdraw(connection, shown)
    return len(made) + len(outdated)


def _to_announce(connection: Connection, estate: Estate, now: datetime) -> list[tuple[Request, Shown | None]]:
    """Scheduled requests that nothing holds back, with the Prefect run made for their date, if any."""
    shown = displays.latest(connection)
    busy = runs.busy_webapps(connection)
    found: list[tuple[Request, Shown | None]] = []
    for request in requests.find(connection, statuses=[Status.SCHEDULED]):
        due = request.scheduled_for is not None and request.scheduled_for <= now
        if due and (
            estate.webapp(request.site).key in busy
            or pauses.applying(connection, estate, request.site, now) is not None
            or (request.start_by is not None and request.start_by < now)
            or shortage(connection, estate, request)
        ):
            continue
        made = shown.get(request.id)
        current = made if made is not None and made.scheduled_for == request.scheduled_for else None
        found.append((request, current))
    return found


def _abandoned(connection: Connection, lease_seconds: int) -> list[Request]:
    """Requests whose worker is gone and for which no second worker was asked for lately."""
    found = []
    for run in runs.abandoned(connection, lease_seconds):
        row = connection.execute(
            "select 1 from display where request = %s and scheduled_for is null"
            " and made_at > now() - make_interval(secs => %s)",
            (run.id.request.number, max(lease_seconds, 30)),
        ).fetchone()
        if row is None:
            found.append(requests.get(connection, run.id.request))
    return found


def _announce(world: World, request: Request, at: datetime | None) -> Shown:
    with world.ledger.transaction() as connection:
        key = displays.next_key(connection, request.id)
    flow = request.kind.value
    version = f" to {request.version}" if request.version else ""
    again = "" if at else " (resumed)"
    flow_run = make_run(
        world.settings.prefect_api,
        f"{flow}/{flow}",
        name=f"{request.id} {request.site} {flow}{version}{again}",
        parameters={"request": str(request.id)},
        at=at,
        key=key,
        tags=[f"customer:{request.site.customer}", f"site:{request.site.environment.value}", flow],
    )
    shown = Shown(request=request.id, key=key, flow_run=flow_run, scheduled_for=at)
    with world.ledger.transaction() as connection:
        displays.remember(connection, shown)
    log.info("%s has its Prefect run", request.id, extra={"action": "announce", "request": request.id})
    return shown
