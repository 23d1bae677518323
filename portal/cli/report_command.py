"""`freshet report ID`: the report of a request's last run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from infra.ledger import runs
from policy.errors import Refused
from policy.names import RequestId
from portal.cli.output import answers
from tasks import manage
from tasks.world import open_world


@answers
def report(number: Annotated[str, typer.Argument(metavar="ID", help="the request, such as R42")]) -> None:
    """Print the report of a request's last run, as Markdown."""
    world = open_world()
    request = manage.visible(world, manage.principal(world, None), RequestId(number))
    with world.ledger.transaction() as connection:
        run = runs.last(connection, request.id)
        text = None if run is None else runs.report(connection, run.id)
    if text is None:
        raise Refused(f"request: {number} is '{request.status.value}' and has no report yet")
    sys.stdout.write(text)
