"""The `freshet` command: everything an engineer does, in words that say what happens."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from portal.cli import request_changes, stack_commands
from portal.cli.application_commands import application_app
from portal.cli.demo_command import demo
from portal.cli.estate_commands import estate_app
from portal.cli.golden_commands import golden_app
from portal.cli.group_commands import group_app
from portal.cli.output import say
from portal.cli.protection_commands import protection_app
from portal.cli.queue_commands import queue_app
from portal.cli.recurring_commands import recurring_app
from portal.cli.release_commands import release_app
from portal.cli.report_command import report
from portal.cli.request_commands import request_app
from portal.cli.server_commands import server_app
from portal.cli.sweep_command import sweep


def _version(asked: bool) -> None:
    if asked:
        say(f"freshet {version('freshet')}")
        raise typer.Exit


app = typer.Typer(
    name="freshet",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def freshet(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", help="say which version this is", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Refresh customers' databases from Production and upgrade their applications, start to report."""


app.command()(demo)
stack_commands.register(app)
request_changes.register(request_app)
app.add_typer(request_app, name="request")
app.add_typer(queue_app, name="queue")
app.add_typer(release_app, name="release")
app.add_typer(golden_app, name="golden")
app.add_typer(group_app, name="group")
app.add_typer(recurring_app, name="recurring")
app.add_typer(estate_app, name="estate")
app.add_typer(protection_app, name="protection")
app.add_typer(application_app, name="application")
app.add_typer(server_app, name="server")
app.command()(report)
app.command()(sweep)


def main() -> None:
    """Entry point of the console script."""
    app()
