"""`freshet demo`: everything from an empty folder to the reported result."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.settings import Settings
from infra.stack.stack import Stack
from portal.cli.output import answers, complain, console, say
from portal.demo.run import run_demo
from tasks.world import open_world


@answers
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="leave everything running, to look around")] = False,
    port_base: Annotated[
        int | None, typer.Option("--port-base", metavar="N", help="count ports from N")
    ] = None,
) -> None:
    """Start everything, carry out three real requests, show what happened, stop everything."""
    state = Settings().state_dir.resolve()
    say("Freshet's demo: a refresh, an upgrade, and an upgrade to a broken release that is put back.")
    try:
        Stack.wanted(state=state, port_base=port_base, tell=say).up()
        findings = run_demo(open_world(), console)
    finally:
        if not keep:
            Stack.existing(state=state, tell=lambda _: None).down()
    for finding in findings:
        complain(f"NOT KEPT: {finding}")
    if keep:
        say("Everything is left running; stop it with: freshet down")
    if findings:
        raise typer.Exit(1)
