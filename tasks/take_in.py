"""Take in what the queue brings: each message becomes a request or a dead letter with its reason.

Invariant: a message is deleted only after the ledger has committed, or after it was put aside; a ledger that
is away leaves the messages where they are.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache

from infra.message import parse_message
from infra.queue import Received, RequestQueue
from policy.errors import Refused
from policy.permissions import principal_of
from policy.sender import asker, sender_of
from tasks.submit import submit
from tasks.world import World

log = logging.getLogger("freshet.intake")

WAIT_S = 10
"""Seconds of long polling; a stop of the loop takes no longer than this."""


def take_in(world: World) -> int:
    """Receive once and deal with all that came, each message in a transaction of its own.

    Returns:
        How many messages came.

    Raises:
        Unavailable: the queue or the ledger does not answer; what was not committed comes again.
    """
    queue = _queue(world)
    messages = queue.receive(wait_s=WAIT_S)
    if not messages:
        return 0
    committed: list[Received] = []
    try:
        with world.ledger.kept() as ledger:
            here = replace(world, ledger=ledger)
            for message in messages:
                if _deal_with(here, queue, message):
                    committed.append(message)  # noqa: PERF401 - it counts when a later message fails
    finally:
        # Also when the ledger went away in between: what it has need not come again.
        queue.delete_all(committed)
    return len(messages)


def _deal_with(world: World, queue: RequestQueue, message: Received) -> bool:
    """Submit or put aside; True when the ledger has committed, so that the message may be deleted."""
    try:
        wish = parse_message(message.body)
        sender = sender_of(message.sender, world.settings.known_senders)
        principal = principal_of(world.estate(), asker(sender, wish))
        submitted = submit(world, wish, principal)
    except Refused as error:
        log.warning("message %s refused: %s", message.id, error, extra={"action": "refuse"})
        with world.ledger.transaction() as connection:
            connection.execute(
                "insert into event (at, verb, actor, reason, detail)"
                " values (%s, 'refuse', %s, %s, jsonb_build_object('message', %s::text))",
                (world.clock.now(), f"queue:{message.sender[:60]}", str(error), message.id),
            )
        queue.dead_letter(message, str(error))
        return False
    log.info(
        "message %s is %s%s",
        message.id,
        submitted.request.id,
        " (again)" if submitted.repeated else "",
        extra={"action": "take_in", "request": submitted.request.id},
    )
    return True


@cache
def _queue(world: World) -> RequestQueue:
    """One for the process: making a client takes longer than dealing with a message."""
    return RequestQueue(world.settings)
