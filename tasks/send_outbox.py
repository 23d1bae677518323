"""Send what the outbox holds: mail, status messages, calls to on-call.

Invariant: an entry leaves the outbox only when its server took it, or when it never will and says why; a
server that is away delays its own entries and nothing else.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from functools import cache

from infra.delivery import Transports, deliver, open_transports
from infra.ledger import outbox
from policy.errors import Refused, Unavailable
from tasks.world import World

log = logging.getLogger("freshet.deliver")

AT_ONCE = 20

CHANNELS = ("status", "webhook", "mail")
"""Each has its own turn in every round, so that one whose server is away starves no other."""

ROUND_S = 20.0
"""A channel's turn ends after this; it is shorter than the time for which entries are held."""

REST = timedelta(seconds=15)
"""For how long a channel waits whose server did not answer: a hanging one costs ten seconds a turn."""


def send_outbox(world: World) -> int:
    """Send what is due, up to `AT_ONCE` entries of each channel.

    Returns:
        How many were tried.

    Raises:
        Unavailable: the ledger does not answer.
    """
    return sum(_turn(world, channel) for channel in CHANNELS)


def _turn(world: World, channel: str) -> int:
    with world.ledger.transaction() as connection:
        entries = outbox.claim(connection, limit=AT_ONCE, channel=channel)
    ends = time.monotonic() + ROUND_S
    for tried, entry in enumerate(entries, start=1):
        answers = _send(world, entry)
        left = entries[tried:]
        if answers and time.monotonic() < ends:
            continue
        with world.ledger.transaction() as connection:
            outbox.give_back(connection, left)
            if not answers:
                outbox.rest(connection, channel, REST)
        return tried
    return len(entries)


def _send(world: World, entry: outbox.OutboxEntry) -> bool:
    """Try one entry; False when its server did not answer."""
    error, answers = "", True
    try:
        deliver(entry, _transports(world))
    except Unavailable as away:
        error, answers = str(away), False
    except Refused as never:
        error = str(never)
    with world.ledger.transaction() as connection:
        if error:
            log.warning("outbox %s: %s", entry.key, error, extra={"action": "deliver", "key": entry.key})
            outbox.failed(connection, entry, error=error, permanent=answers)
        else:
            outbox.sent(connection, entry)
    return answers


@cache
def _transports(world: World) -> Transports:
    return open_transports(world.settings, world.secrets)
