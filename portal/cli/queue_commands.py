"""`freshet queue …`: what waits, why, and the pause switch."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.ledger import pauses
from policy.permissions import Action, require
from portal.cli.output import answers, say, show_json, show_table
from tasks import manage
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
        say(f"PAUSED {held['scope']}: {held['reason']} ({held['by']})")
    show_table(
        ["position", "id", "site", "what", "status", "expected start", "because"],
        [
            (q["position"], q["id"], q["site"], q["kind"], q["status"], q["eta"], q["waiting_because"])
            for q in found["waiting"]
        ],
    )
    say(f"{len(found['running'])} running, {len(found['waiting'])} waiting")


@queue_app.command("pause")
@answers
def pause_command(
    reason: Annotated[str, typer.Option(help="why; shown on every request that it holds back")],
    scope: Scope = "all",
) -> None:
    """Hold back everything that has not begun; what runs is brought to its end."""
    world = open_world()
    estate = world.estate()
    who = manage.principal(world, None)
    require(who, Action.PAUSE, estate, None)
    checked = pauses.scope_of(estate, scope)
    with world.ledger.transaction() as connection:
        pauses.pause(connection, scope=checked, reason=reason, by=who.email)
    say(f"paused {checked}: {reason}")


@queue_app.command("resume")
@answers
def resume_command(scope: Scope = "all") -> None:
    """Lift a pause."""
    world = open_world()
    require(manage.principal(world, None), Action.PAUSE, world.estate(), None)
    with world.ledger.transaction() as connection:
        lifted = pauses.resume(connection, scope=scope)
    say(f"resumed {scope}" if lifted else f"{scope} was not paused")
