"""What the queue shows of itself: who waits, in which place, until when, and why."""

from __future__ import annotations

from typing import Any

from policy.explain import explain

from infra.ledger import pauses, requests
from policy.names import RequestId
from policy.plan import Placement
from policy.planner import plan
from tasks.queue import read_queue
from tasks.view import iso, view
from tasks.world import World


def queue_view(world: World) -> dict[str, Any]:
    """The whole queue, in the order of the expected starts.

    Raises:
        Unavailable: the ledger does not answer.
    """
    estate = world.estate()
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        queue = read_queue(connection, estate, now)
        known = {waiting.id: requests.get(connection, waiting.id) for waiting in queue.waiting}
        held = pauses.every(connection)
    made = plan(queue)
    waiting = []
    for entry in queue.waiting:
        answer = made.answers[entry.id]
        placed = answer if isinstance(answer, Placement) else None
        waiting.append(
            {
                **view(known[entry.id]),
                "position": answer.position,
                "eta": iso(placed.start) if placed else None,
                "done_from": iso(placed.eta_low) if placed else None,
                "done_by": iso(placed.eta_high) if placed else None,
                "waiting_because": explain(answer.reason, estate.customer(entry.site.customer).zone),
            }
        )
    waiting.sort(key=lambda entry: (entry["eta"] is None, entry["eta"] or "", entry["id"]))
    return {
        "at": iso(now),
        "pauses": [{"scope": p.scope, "reason": p.reason, "by": p.by, "since": iso(p.at)} for p in held],
        "running": [{"run": str(run.run), "until": iso(run.until)} for run in queue.running],
        "waiting": waiting,
    }


def place_of(world: World, request: RequestId) -> dict[str, Any]:
    """The queue's words about one waiting request; empty when it does not wait."""
    keys = ("position", "eta", "done_from", "done_by", "waiting_because")
    for entry in queue_view(world)["waiting"]:
        if entry["id"] == request:
            return {key: entry[key] for key in keys}
    return {}
