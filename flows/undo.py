"""Undo: a finished refresh is taken back, within the undo period."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.check_health import check_health
from tasks.check_may_start import check_may_start
from tasks.check_undo import check_undo
from tasks.hold_requests import hold_requests
from tasks.reopen import reopen
from tasks.run_request import run_request
from tasks.undo_refresh import undo_refresh


@flow(name="undo", persist_result=False)
def undo(request: str) -> State[None]:
    """Look whether the previous database fits, let users wait, put it back, let them in again, check.

    Args:
        request: the number of the undo's own request, such as R43; it must be Scheduled and due.
    """
    return run_request(
        request, check_may_start, check_undo, hold_requests, undo_refresh, reopen, check_health
    )
