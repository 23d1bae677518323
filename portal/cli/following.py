"""Follow a request at the terminal until it has ended, and leave with the code that says how."""

from __future__ import annotations

import sys
import time
from datetime import datetime

import typer

from infra.ledger import requests
from policy.names import RequestId
from policy.request import Outcome, Request
from portal.cli.output import NOT_DONE, STUCK, console, show_json
from tasks.view import detail
from tasks.world import World

LOOK_EVERY = 0.5


def follow(world: World, number: RequestId, *, quiet: bool) -> Request:
    """Wait until `number` has ended, with a line for each change; Ctrl-C ends the waiting only."""
    events, steps = 0, 0
    while True:
        with world.ledger.transaction() as connection:
            found = detail(connection, number)
            request = requests.get(connection, number)
        done = [step for step in found["steps"] if step["state"] == "done"]
        if not quiet:
            for event in found["events"][events:]:
                reason = f": {event['reason']}" if event["reason"] else ""
                _tell(number, f"{event['to'] or event['verb']}{reason}")
            for step in done[steps:]:
                _tell(number, f"  {step['name']}: done {seconds(step['seconds'])}")
        events, steps = len(found["events"]), len(done)
        if request.outcome is not None:
            return request
        time.sleep(LOOK_EVERY)


def exit_as_it_ended(request: Request) -> None:
    """Leave with the code of the outcome; nothing when it was done."""
    if request.outcome is Outcome.STUCK:
        raise typer.Exit(STUCK)
    if request.outcome is not Outcome.DONE:
        raise typer.Exit(NOT_DONE)


def show_and_leave(world: World, request: Request, *, wait: bool, as_json: bool) -> None:
    """What a command does with the request that it made: follow it, show it, leave as it ended.

    Args:
        world: the ledger.
        request: as it was just made.
        wait: follow it until it has ended, and leave with the code of its outcome.
        as_json: show its detail, for machines, instead of a line for each change.
    """
    if wait:
        request = follow(world, request.id, quiet=as_json)
    if as_json:
        with world.ledger.transaction() as connection:
            show_json(detail(connection, request.id))
    if wait:
        exit_as_it_ended(request)


def seconds(value: float | None) -> str:
    """For a table or a line."""
    return "" if value is None else f"{value:.1f}"


def _tell(number: RequestId, line: str) -> None:
    console.print(f"{datetime.now().astimezone():%H:%M:%S} {number} {line}", markup=False)
    sys.stdout.flush()
