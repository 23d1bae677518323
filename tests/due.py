"""Makes a request due, as the planner would once its date has come."""

from __future__ import annotations

from datetime import timedelta

from policy.lifecycle import Actor, Event
from policy.names import RequestId
from tasks.change import change
from tasks.world import World


def make_due(world: World, request: RequestId) -> None:
    """Give `request` a date: now."""
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        change(
            world,
            connection,
            world.estate(),
            request,
            Event.SCHEDULE,
            at=now,
            by=Actor.FRESHET,
            who="plan",
            columns={"scheduled_for": now - timedelta(seconds=1)},
        )
