"""Sweep: whatever was left undone by a worker, a server or a night without power is finished."""

from __future__ import annotations

import logging

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.engine import engine
from flows.refresh import refresh
from flows.undo import undo
from flows.upgrade import upgrade
from infra.ledger import requests, runs
from policy.errors import FreshetError, Refused, Unavailable
from policy.names import RequestId
from policy.request import Kind
from tasks.drop_copies import drop_copies
from tasks.drop_dumps import drop_dumps
from tasks.engine_clean_up import clean_up_engines
from tasks.golden import tidy_images
from tasks.golden_run import ask_due
from tasks.logs import quiet_logs
from tasks.send_outbox import send_outbox
from tasks.tidy import tidy
from tasks.wake import silent_loops, wake
from tasks.world import World, open_world

log = logging.getLogger("freshet.sweep")

FLOWS = {Kind.REFRESH: refresh, Kind.UPGRADE: upgrade, Kind.UNDO: undo, Kind.ENGINE: engine}


@flow(name="sweep", flow_run_name="sweep", persist_result=False)
def sweep() -> None:
    """Take over abandoned runs, drop what is due, wake the parts that died, and say what was done."""
    done = sweep_once(dry_run=False)
    lines = [f"- {name.replace('_', ' ')}: {line}" for name, found in done.items() for line in found]
    create_markdown_artifact(key="sweep", markdown="\n".join(lines) or "Nothing to do.")


def sweep_once(*, dry_run: bool) -> dict[str, list[str]]:
    """One sweep, with or without Prefect.

    Args:
        dry_run: only say what would be done.

    Returns:
        What was done, by kind: taken over, tidied, woken, delivered.
    """
    world = open_world()
    quiet_logs(world)
    return {
        "taken_over": _take_over(world, dry_run=dry_run),
        "tidied": _tidy(world, dry_run=dry_run),
        "golden": _golden(world, dry_run=dry_run),
        "woken": _wake(world, dry_run=dry_run),
        "delivered": [] if dry_run else _deliver(world),
    }


def _take_over(world: World, *, dry_run: bool) -> list[str]:
    with world.ledger.transaction() as connection:
        left = [
            requests.get(connection, run.id.request)
            for run in runs.abandoned(connection, world.settings.lease_seconds)
        ]
    lines = []
    for request in left:
        if dry_run:
            lines.append(f"{request.id} on {request.site} was abandoned")
            continue
        try:
            FLOWS[request.kind].fn(str(request.id))
        except FreshetError as error:
            # One run that cannot be taken over must not keep the others waiting.
            log.exception("%s was not taken over", request.id, extra={"action": "take_over"})
            lines.append(f"{request.id} on {request.site} was not taken over: {error}")
            continue
        lines.append(f"{request.id} on {request.site}: {_status(world, request.id)}")
    return lines


def _tidy(world: World, *, dry_run: bool) -> list[str]:
    try:
        return [
            *tidy(world, dry_run=dry_run),
            *drop_dumps(world, dry_run=dry_run),
            *drop_copies(world, dry_run=dry_run),
            *clean_up_engines(world, dry_run=dry_run),
        ]
    except Refused as error:
        # The estate's file has mistakes: nothing is dropped by it, and the rest of the sweep goes on.
        log.warning("%s", error, extra={"action": "tidy"})
        return [str(error)]


def _golden(world: World, *, dry_run: bool) -> list[str]:
    """Images too old are dropped before new ones are asked for, so that there is room."""
    lines: list[str] = []
    try:
        lines += tidy_images(world, dry_run=dry_run)
        lines += ask_due(world, dry_run=dry_run)
    except (Refused, Unavailable) as error:
        log.warning("%s", error, extra={"action": "golden"})
        lines.append(str(error))
    return lines


def _status(world: World, request: RequestId) -> str:
    with world.ledger.transaction() as connection:
        found = requests.get(connection, request)
    return found.status.value if found.outcome is None else f"{found.status.value} ({found.outcome.value})"


def _wake(world: World, *, dry_run: bool) -> list[str]:
    try:
        return silent_loops(world) if dry_run else wake(world)
    except Unavailable as error:
        log.warning("%s", error, extra={"action": "wake"})
        return [str(error)]


def _deliver(world: World) -> list[str]:
    sent = 0
    while count := send_outbox(world):
        sent += count
    return [f"{sent} entries of the outbox tried"] if sent else []
