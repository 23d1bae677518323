"""Intake: messages become requests, one long-lived run."""

from __future__ import annotations

from prefect import flow

from tasks.loop import loop
from tasks.take_in import take_in


@flow(name="intake", flow_run_name="intake", persist_result=False)
def intake() -> None:
    """Submit what the queue brings, until stopped; a message is deleted after the ledger committed."""
    loop("intake", take_in)
