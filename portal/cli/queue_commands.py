"""`freshet queue …`: what waits, why, and the pause switch."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from policy.local_time import parse_when
from portal.cli.output import answers, say, show_json, show_table
from tasks import manage
from tasks.pause_queue import at_rest, pause_queue, resume_queue
from tasks.queue_view import queue_view
from tasks.world import open_world

queue_app = typer.Typer(name="queue", help="What waits and why; pause and resume.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="for machines: stable keys, UTC times")]
Scope = Annotated[str, typer.Option(help="all, group:NAME, customer:NAME or server:NAME: what is held back")]


@queue_app.command("show")
@answers
def show_command(as_json: Json = False) -> None:
    """Show every waiting request with its position, its expected start and the reason for waiting."""
    world = open_world()
    found = queue_view(world)
    if as_json:
        show_json(found)
        return
    for held in found["pauses"]:
        rest = "at rest" if held["at_rest"] else "runs are being brought to their end"
        say(f"PAUSED {held['scope']}: {held['reason']} ({held['by']}); {rest}")
    show_table(
        ["position", "id", "site", "what", "status", "expected start", "because"],
        [
            (q["position"], q["id"], q["site"], q["kind"], q["status"], q["eta"], q["waiting_because"])
            for q in found["waiting"]
        ],
    )
    say(f"{len(found['running'])} running, {len(found['waiting'])} waiting")
    kept = found["eta_accuracy"]
    if kept["promises"]:
        say(
            f"of {kept['promises']} dates told before, {kept['kept_percent']} % were kept; off by "
            f"{kept['median_error_min']} min in the median, {kept['p90_error_min']} min nine times out of ten"
        )


@queue_app.command("pause")
@answers
def pause_command(
    reason: Annotated[str, typer.Option(help="why; shown on every request that it holds back")],
    scope: Scope = "all",
    until: Annotated[
        str | None, typer.Option(metavar='"2026-11-22 02:00"', help="local time at which it ends by itself")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="until what runs under it has ended (drain)")] = False,
) -> None:
    """Hold back everything that has not begun; what runs is brought to its end."""
    world = open_world()
    who = manage.principal(world, None)
    zone = manage.zone_of(world.estate(), who)
    ends = None if until is None else parse_when(until, zone, world.clock.now())
    held = pause_queue(world, who, scope, reason, until=ends)
    say(f"paused {held.scope}: {held.reason}")
    while wait and not at_rest(world, held):
        time.sleep(1)
    if wait:
        say(f"{held.scope} is at rest: nothing runs under the pause")


@queue_app.command("resume")
@answers
def resume_command(scope: Scope = "all") -> None:
    """Lift a pause."""
    world = open_world()
    lifted = resume_queue(world, manage.principal(world, None), scope)
    say(f"resumed {scope}" if lifted else f"{scope} was not paused")
