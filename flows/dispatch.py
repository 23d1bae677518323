"""Dispatch: what is due becomes Prefect runs, one long-lived run."""

from __future__ import annotations

from prefect import flow

from tasks.campaigns import advance_campaigns
from tasks.loop import every, loop
from tasks.offer_forms import offer_forms
from tasks.plan import plan
from tasks.recurring import ask_recurring
from tasks.remind import remind
from tasks.start_due import start_due
from tasks.time_out import time_out


@flow(name="dispatch", flow_run_name="dispatch", persist_result=False)
def dispatch() -> None:
    """Give every waiting request its date, ask for what comes back and for answers, start what is due."""
    loop(
        "dispatch",
        plan,
        every(2, advance_campaigns),
        every(20, ask_recurring),
        every(20, remind),
        every(20, time_out),
        every(2, offer_forms),
        start_due,
    )
