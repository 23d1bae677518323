"""What the sweep does for runs that ended long ago: each once, and none in the way of the rest.

Invariant: nothing is done while another run works on the same web application; what was done is an event in
the ledger, which keeps it from being due again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from infra.ledger import requests, runs
from policy.errors import FreshetError
from policy.names import RunId
from tasks.world import World

log = logging.getLogger("freshet.sweep")


@dataclass(frozen=True, kw_only=True)
class Owed:
    """Something that is due.

    Attributes:
        run: whose it is.
        webapp: the web application that must be at rest.
        would: what is said when it is not to be done yet.
        act: does it; gives a line for each thing done.
        undone: what is the case when it failed, as the beginning of a sentence.
    """

    run: RunId
    webapp: str
    would: str
    act: Callable[[], Iterable[str]]
    undone: str


def see_to(world: World, owed: Iterable[Owed], *, verb: str, dry_run: bool) -> Iterator[str]:
    """Do what is due, or only say it.

    Args:
        world: the ledger.
        owed: what is due.
        verb: the event that says of a run that it was done.
        dry_run: only say.

    Yields:
        A line for each thing done, or left because it failed.
    """
    with world.ledger.transaction() as connection:
        busy = runs.busy_webapps(connection)
    for each in owed:
        if each.webapp in busy:
            continue
        if dry_run:
            yield each.would
            continue
        try:
            lines = list(each.act())
        except FreshetError as error:
            # One host that is away must not keep the sweep from the rest of its work.
            log.warning("%s: %s: %s", each.run, each.undone, error, extra={"action": verb, "run": each.run})
            yield f"{each.run}: {each.undone} ({error}); the next sweep tries again"
            continue
        _note(world, each.run, verb, "; ".join(lines))
        yield from (f"{each.run}: {line}" for line in lines)


def _note(world: World, run: RunId, verb: str, said: str) -> None:
    with world.ledger.transaction() as connection:
        requests.write_event(
            connection,
            at=world.clock.now(),
            verb=verb,
            actor="sweep",
            request=run.request,
            run=run,
            reason=said,
        )
