"""Claim a request for this worker: begin its run, or take over one whose worker is gone.

Invariant: of any number of workers that claim the same request at once, one gets it and the others are
`Busy`; a run that was begun is always taken over, never begun a second time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from infra.failpoints import CLAIM, Moment, failpoint
from infra.ledger import lease, pauses, requests, runs
from infra.ledger.connection import Connection
from policy.errors import Busy, Refused
from policy.estate import Estate
from policy.lifecycle import Actor, Event
from policy.names import DatabaseName, RequestId, RunId, ServerName
from policy.request import Kind, Request, Status
from tasks.change import change
from tasks.end_leftovers import end_leftovers
from tasks.hold import Hold
from tasks.queue import shortage
from tasks.world import World

DISTURBING = ("take_offline", "hold_requests")
"""From these steps on users notice; a run that was abandoned before them has to fit its window anew."""


def claim(
    world: World, request_id: RequestId, speak: Callable[[str, float | None, float | None], None]
) -> Hold:
    """Take `request_id` for this worker.

    Args:
        world: the ledger and the settings.
        request_id: a Scheduled request that is due, or one whose run was abandoned.
        speak: where the run's words go.

    Raises:
        Refused: the request is not in a state to be carried out.
        Busy: it is not due yet, is paused, or another worker has it; nothing was changed.
    """
    estate = world.estate()
    holder = f"{socket.gethostname()}:{os.getpid()}"
    with world.ledger.transaction() as connection:
        webapp = estate.webapp(requests.get(connection, request_id).site).key
        lease.lock(connection, webapp=webapp)
        request = requests.get(connection, request_id, lock=True)
        abandoned = runs.live(connection, request_id)
        if abandoned is not None and abandoned.state == "stuck":
            raise Refused(f"request: {request_id} is stuck and waits for a person (`freshet request clear`)")
        run = abandoned.id if abandoned else _begin(world, connection, estate, request)
        epoch = lease.take(
            connection, webapp=webapp, run=run, holder=holder, lease_seconds=world.settings.lease_seconds
        )
    failpoint(f"{request.kind.value}.{CLAIM}.{Moment.MID}")
    if abandoned is not None:
        end_leftovers(world, estate, request, run, epoch, lambda: prove(world, webapp, run, epoch))
    with world.ledger.transaction() as connection:
        lease.prove(connection, webapp=webapp, run=run, epoch=epoch)
        if abandoned is not None and request.kind is not Kind.ENGINE:
            runs.look_again(connection, run, "check_may_start", unless_begun=DISTURBING)
        request = requests.get(connection, request_id)
        if request.status is Status.NOT_STARTED:
            request = change(
                world,
                connection,
                estate,
                request_id,
                Event.BEGIN,
                at=world.clock.now(),
                by=Actor.FRESHET,
                who=holder,
            )
    return Hold(world=world, estate=estate, request=request, run=run, webapp=webapp, epoch=epoch, speak=speak)


def prove(world: World, webapp: str, run: RunId, epoch: int) -> None:
    """Prove that `epoch` is still the newest.

    Raises:
        Busy: another worker has taken over.
    """
    with world.ledger.transaction() as connection:
        lease.prove(connection, webapp=webapp, run=run, epoch=epoch)


def databases(estate: Estate, request: Request) -> list[tuple[ServerName, DatabaseName]]:
    """The databases that carrying out `request` changes: one for a refresh, all that an upgrade migrates."""
    if request.kind in {Kind.REFRESH, Kind.UNDO}:
        sites = [estate.site(request.site)]
    else:
        sites = list(estate.served_by(estate.webapp(request.site)))
    return [(site.server, site.database) for site in sites]


def _begin(world: World, connection: Connection, estate: Estate, request: Request) -> RunId:
    now = world.clock.now()
    if request.status is not Status.SCHEDULED:
        raise Refused(f"request: {request.id} is '{request.status.value}', so there is nothing to start")
    if request.scheduled_for is None or request.scheduled_for > now:
        raise Busy(f"request {request.id} was moved and is not due yet")
    if request.start_by is not None and request.start_by < now:
        raise Busy(f"request {request.id} missed its start-by and waits for its next window")
    paused = pauses.applying(connection, estate, request.site, now)
    if paused is not None:
        raise Busy(f"request {request.id} waits: {paused.sentence}")
    # One beginning at a time, so that two workers do not both see the last free place.
    connection.execute("select pg_advisory_xact_lock(hashtext('freshet.begin'))")
    short = shortage(connection, estate, request)
    if short:
        raise Busy(f"request {request.id} waits for {short.replace(':', ' ', 1)}: others work there")
    run = RunId.of(request.id, request.attempt + 1)
    change(
        world,
        connection,
        estate,
        request.id,
        Event.PULL,
        at=now,
        by=Actor.FRESHET,
        who="dispatch",
        columns={"attempt": run.attempt},
    )
    runs.begin(
        connection, run=run, webapp=estate.webapp(request.site).key, databases=databases(estate, request)
    )
    return run
