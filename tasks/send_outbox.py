"""Send what the outbox holds: mail, status messages, calls to on-call.

Invariant: an entry leaves the outbox only when its server took it, or when it never will and says why; a
server that is away delays its own entries and nothing else.
"""

from __future__ import annotations

import logging
from functools import cache

from infra.delivery import Transports, deliver, open_transports
from infra.ledger import outbox
from policy.errors import Refused, Unavailable
from tasks.world import World

log = logging.getLogger("freshet.deliver")

AT_ONCE = 20


def send_outbox(world: World) -> int:
    """Send up to `AT_ONCE` due entries.

    Returns:
        How many were tried.

    Raises:
        Unavailable: the ledger does not answer.
    """
    with world.ledger.transaction() as connection:
        entries = outbox.claim(connection, limit=AT_ONCE)
    for entry in entries:
        _send(world, entry)
    return len(entries)


def _send(world: World, entry: outbox.OutboxEntry) -> None:
    error, permanent = "", False
    try:
        deliver(entry, _transports(world))
    except Unavailable as away:
        error = str(away)
    except Refused as never:
        error, permanent = str(never), True
    with world.ledger.transaction() as connection:
        if error:
            log.warning("outbox %s: %s", entry.key, error, extra={"action": "deliver", "key": entry.key})
            outbox.failed(connection, entry, error=error, permanent=permanent)
        else:
            outbox.sent(connection, entry)


@cache
def _transports(world: World) -> Transports:
    return open_transports(world.settings, world.secrets)
