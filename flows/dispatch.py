"""Dispatch: what is due becomes Prefect runs, one long-lived run."""

from __future__ import annotations

from prefect import flow

from tasks.campaigns import advance_campaigns
from tasks.loop import loop
from tasks.plan import plan
from tasks.remind import remind
from tasks.start_due import start_due


@flow(name="dispatch", flow_run_name="dispatch", persist_result=False)
def dispatch() -> None:
    """Give every waiting request its date, remind people of it, and make its Prefect run, until stopped."""
    loop("dispatch", plan, advance_campaigns, remind, start_due)
