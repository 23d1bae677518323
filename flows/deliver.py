"""Deliver: what the outbox holds reaches its people and queues, one long-lived run."""

from __future__ import annotations

from prefect import flow

from tasks.loop import loop
from tasks.send_outbox import send_outbox


@flow(name="deliver", flow_run_name="deliver", persist_result=False)
def deliver() -> None:
    """Send mail, status messages and calls to on-call, until stopped; each at least once, with its id."""
    loop("deliver", send_outbox)
