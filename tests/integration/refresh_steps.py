"""The steps of a refresh, carried out in order as its flow would, without claim and journal."""

from __future__ import annotations

from typing import Any

from tasks.check_refresh import check_refresh
from tasks.copy_masked import copy_masked
from tasks.create_incoming import create_incoming
from tasks.neutralise import neutralise
from tasks.preserve import preserve
from tasks.step import Step
from tasks.swap import swap
from tasks.verify_incoming import verify_incoming
from tests.integration.refresh_worker import Worker

STEPS: tuple[Step, ...] = (
    check_refresh,
    create_incoming,
    copy_masked,
    neutralise,
    preserve,
    verify_incoming,
    swap,
)


def carry_out(worker: Worker, steps: tuple[Step, ...] = STEPS) -> dict[str, Any]:
    """Do `steps`, and return everything that they told."""
    facts: dict[str, Any] = {}
    for step in steps:
        facts.update(step.do(worker))
    return facts
