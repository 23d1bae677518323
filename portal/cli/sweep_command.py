"""`freshet sweep`: what the sweep deployment runs, by hand; works without Prefect."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.sweep import sweep_once
from portal.cli.output import answers, say, show_json


@answers
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Take over abandoned runs, drop expired databases, find orphans, resend what was not delivered."""
    found = sweep_once(dry_run=dry_run)
    if as_json:
        show_json(found)
        return
    for name, lines in found.items():
        for line in lines:
            say(f"{name.replace('_', ' ')}: {line}")
    if not any(found.values()):
        say("nothing to do")
