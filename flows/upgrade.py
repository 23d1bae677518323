"""Upgrade: a web application and every database it serves go to a newer release."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.change_over import change_over
from tasks.check_health import check_health
from tasks.check_may_start import check_may_start
from tasks.check_upgrade import check_upgrade
from tasks.reopen import reopen
from tasks.run_request import run_request
from tasks.stage_release import stage_release
from tasks.take_offline import take_offline
from tasks.take_snapshot import take_snapshot


@flow(name="upgrade", persist_result=False)
def upgrade(request: str) -> State[None]:
    """Stage, take offline, snapshot, change over, check; put code and databases back if anything fails.

    Downtime runs from `take_offline` to `reopen`; no write is lost, because the snapshots
    are taken after the stop.

    Args:
        request: the request's number, such as R42; it must be Scheduled and due, or abandoned by its worker.
    """
    return run_request(
        request,
        check_may_start,
        check_upgrade,
        stage_release,
        take_offline,
        take_snapshot,
        change_over,
        check_health,
        reopen,
    )
