"""`freshet server …`: take a database server to a newer major version of PostgreSQL."""

from __future__ import annotations

from typing import Annotated

import typer

from policy.engine_version import EngineVersion
from policy.local_time import parse_when
from policy.names import ServerName
from portal.cli.following import show_and_leave
from portal.cli.output import answers, complain, say, show_json
from portal.cli.request_commands import As, Json
from tasks import manage
from tasks.engine_ask import ask_engine, look_engine
from tasks.world import open_world

server_app = typer.Typer(name="server", help="Database servers and their versions.", no_args_is_help=True)


@server_app.callback()
def servers() -> None:
    """Database servers and their versions."""


@server_app.command("upgrade")
@answers
def upgrade_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the server, as the estate names it")],
    to: Annotated[str, typer.Option("--to", metavar="VERSION", help="the major version, such as 18")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="look at everything and rehearse, but ask for nothing")
    ] = False,
    at: Annotated[
        str | None, typer.Option(metavar='"2026-11-22 02:00"', help="not before this local time")
    ] = None,
    note: Annotated[str, typer.Option(help="your own words, kept with the request")] = "",
    as_email: As = None,
    wait: Annotated[bool, typer.Option("--wait", help="follow the request until it has ended")] = False,
    as_json: Json = False,
) -> None:
    """Take a database server to a newer major version, in its customer's next maintenance window.

    For example: freshet server upgrade live --to 18 --dry-run
    """
    world = open_world()
    principal = manage.principal(world, as_email)
    server, version = ServerName(name), EngineVersion(to)
    tell = complain if as_json else say
    if dry_run:
        found = dict(look_engine(world, server, version, principal, tell))
        if as_json:
            show_json({"server": name, "to": to, "ready": True, **found})
        elif found["upgraded"]:
            say(f"{name} has version {to} already")
        else:
            say(f"{name}: ready to go from {found['old_major']} to {found['new_major']} by {found['mode']}")
        return
    when = None
    if at is not None:
        when = parse_when(at, manage.zone_of(world.estate(), principal), world.clock.now())
    request = ask_engine(world, server, version, principal, at=when, note=note, told=tell)
    if not as_json:
        say(f"{request.id}: {name} to PostgreSQL {version}, {request.status.value}")
    show_and_leave(world, request, wait=wait, as_json=as_json)
