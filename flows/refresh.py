"""Refresh: a Sandbox, Staging or Preview database becomes a masked copy of Production."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.check_health import check_health
from tasks.check_may_start import check_may_start
from tasks.check_refresh import check_refresh
from tasks.copy_masked import copy_masked
from tasks.create_incoming import create_incoming
from tasks.hold_requests import hold_requests
from tasks.migrate_incoming import migrate_incoming
from tasks.neutralise import neutralise
from tasks.preserve import preserve
from tasks.reopen import reopen
from tasks.run_request import run_request
from tasks.swap import swap
from tasks.verify_incoming import verify_incoming


@flow(name="refresh", persist_result=False)
def refresh(request: str) -> State[None]:
    """Build the copy aside, masked on the way; prove it; swap it in; put everything back when anything fails.

    The target serves its users until `hold_requests`; Production is only read and never stops.

    Args:
        request: the request's number, such as R42; it must be Scheduled and due, or abandoned by its worker.
    """
    return run_request(
        request,
        check_may_start,
        check_refresh,
        create_incoming,
        copy_masked,
        neutralise,
        migrate_incoming,
        preserve,
        verify_incoming,
        hold_requests,
        swap,
        reopen,
        check_health,
    )
