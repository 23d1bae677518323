"""Follow the demo's requests in the ledger: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from infra.ledger import requests
from policy.errors import Unavailable
from policy.names import RequestId
from portal.demo.wishes import WISHES, DemoWish
from tasks.view import detail
from tasks.world import World

EVERY_S = 0.5


def find_requests(world: World, *, patience_s: float, since: int) -> dict[RequestId, DemoWish]:
    """Wait until intake has made a request of every wish.

    Args:
        world: the ledger.
        patience_s: how long that may take.
        since: the number of the last request before the demo.

    Raises:
        Unavailable: it took longer.
    """
    ends = time.monotonic() + patience_s
    while time.monotonic() < ends:
        with world.ledger.transaction() as connection:
            known = [request for request in requests.find(connection) if request.id.number > since]
        found = {
            request.id: wish
            for wish in WISHES
            for request in known
            if (request.site, request.version) == (wish.site, wish.version)
        }
        if len(found) == len(WISHES):
            return found
        time.sleep(EVERY_S)
    raise Unavailable(
        f"intake made no requests of the messages within {patience_s:.0f} s; see its Prefect run"
    )


def follow(
    world: World, wanted: Sequence[RequestId], *, patience_s: float, console: Console
) -> list[dict[str, Any]]:
    """Show the requests until all have ended.

    Returns:
        The details of each, as `freshet request show --json` gives them.

    Raises:
        Unavailable: they did not end in time.
    """
    ends = time.monotonic() + patience_s
    told: set[str] = set()
    live: AbstractContextManager[Live | None] = (
        Live(console=console, refresh_per_second=4) if console.is_terminal else nullcontext()
    )
    with live as screen:
        while True:
            with world.ledger.transaction() as connection:
                found = [detail(connection, number) for number in wanted]
            if screen is not None:
                screen.update(_table(found))
            else:
                _lines(found, told, lambda line: console.print(line, markup=False))
            if all(request["outcome"] for request in found):
                return found
            if time.monotonic() > ends:
                open_ones = ", ".join(request["id"] for request in found if not request["outcome"])
                raise Unavailable(f"{open_ones} did not end within {patience_s:.0f} s")
            time.sleep(EVERY_S)


def _lines(found: list[dict[str, Any]], told: set[str], say: Callable[[str], None]) -> None:
    for request in found:
        lines = [f"{request['id']} {request['customer']}/{request['site']}: {request['status']}"]
        lines += [
            f"{request['id']}   {step['name'].replace('_', ' ')}: {step['state']}"
            + (f" in {step['seconds']:.1f} s" if step["state"] == "done" and step["seconds"] else "")
            for step in request["steps"]
            if step["state"] in {"done", "undone", "undo_failed"}
        ]
        for line in lines:
            if line not in told:
                told.add(line)
                say(f"{time.strftime('%H:%M:%S')}  {line}")


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("id", "site", "what", "status", "step", "seconds"):
        table.add_column(column, min_width=6)
    for request in found:
        what = f"upgrade to {request['version']}" if request["version"] else "refresh"
        current = request["steps"][-1] if request["steps"] else None
        table.add_row(
            request["id"],
            f"{request['customer']}/{request['site']}",
            what,
            request["status"],
            "" if current is None else f"{current['name'].replace('_', ' ')} ({current['state']})",
            f"{sum(step['seconds'] or 0 for step in request['steps']):.0f}",
        )
    return table
