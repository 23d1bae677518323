"""Keep a long-lived part going: beat, work, rest; an outage outside is waited out, never fatal.

Invariant: two loops of one name at once are harmless (the ledger's unique rows see to it), only wasteful: the
one that started last goes on, the other notices and ends.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable

from policy.errors import Busy, Refused, Unavailable
from tasks.logs import quiet_logs
from tasks.world import World, open_world

log = logging.getLogger("freshet.loop")

REST = 0.5
"""Seconds between two rounds that found nothing to do."""

RETRY = 5.0
"""Seconds to wait when something outside does not answer."""


def loop(name: str, *work: Callable[[World], int]) -> None:
    """Call each of `work` in turn, again and again, until another loop of this name takes over.

    Args:
        name: which loop this is, for the ledger and `freshet doctor`.
        work: functions that do what is due now and return how much that was.
    """
    world = open_world()
    quiet_logs(world)
    holder = f"{socket.gethostname()}:{os.getpid()}:{time.monotonic_ns()}"
    first = True
    while True:
        try:
            if not _beat(world, name, holder, first=first):
                log.info("another %s loop has taken over", name, extra={"action": "loop_ends"})
                return
            first = False
            done = sum(each(world) for each in work)
        except (Unavailable, Busy, Refused) as error:
            # Refused: the estate's file was saved with a mistake; it counts again once it is mended.
            log.warning("%s: %s; trying again in %.0f s", name, error, RETRY, extra={"action": "loop_waits"})
            time.sleep(RETRY)
            continue
        if not done:
            time.sleep(REST)


def every(seconds: float, work: Callable[[World], int]) -> Callable[[World], int]:
    """`work`, called only when it was last done `seconds` ago or more; one that failed is called again."""
    done_at: list[float] = []

    def when_due(world: World) -> int:
        if done_at and time.monotonic() - done_at[0] < seconds:
            return 0
        found = work(world)
        done_at[:] = [time.monotonic()]
        return found

    return when_due


def _beat(world: World, name: str, holder: str, *, first: bool) -> bool:
    with world.ledger.transaction() as connection:
        if first:
            connection.execute(
                "insert into loop (name, holder) values (%s, %s)"
                " on conflict (name) do update set holder = excluded.holder, beat_at = now()",
                (name, holder),
            )
            return True
        beat = connection.execute(
            "update loop set beat_at = now() where name = %s and holder = %s", (name, holder)
        )
        return beat.rowcount == 1
