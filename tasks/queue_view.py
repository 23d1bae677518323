"""What the queue shows of itself: who waits, in which place, until when, why; and how true that was so far.

Invariant: every waiting request has its reason in one plain sentence; keys are stable, what is not known is
null.
"""

from __future__ import annotations

from typing import Any

from infra.ledger import etas
from policy.estate import Estate
from policy.names import RequestId
from policy.pause import applying, drained, scopes_of
from policy.plan import Placement, Plan
from policy.planner import plan
from policy.waiting import Queue, Waiting
from tasks.plan import because
from tasks.queue import read_queue, running_requests
from tasks.view import iso, view
from tasks.world import World

PLACE = ("position", "line", "eta", "done_from", "done_by", "waiting_because", "paused")
"""What a waiting request is told about its place; all null on one that does not wait."""


def queue_view(world: World) -> dict[str, Any]:
    """The whole queue, in the order of the expected starts.

    Raises:
        Unavailable: the ledger does not answer.
    """
    estate, now = world.estate(), world.clock.now()
    with world.ledger.transaction() as connection:
        reading = read_queue(connection, estate, now)
        running = {request.id: request for request in running_requests(connection)}
        accuracy = etas.accuracy(connection)
    queue = reading.queue
    made = plan(queue)
    waiting = [
        {**view(reading.requests[entry.id]), **_place(estate, queue, made, entry)} for entry in queue.waiting
    ]
    waiting.sort(key=lambda entry: (entry["eta"] is None, entry["eta"] or "", int(entry["id"][1:])))
    under_way = [scopes_of(estate, request.site) for request in running.values()]
    return {
        "at": iso(now),
        "pauses": [
            {
                "scope": held.scope,
                "reason": held.reason,
                "by": held.by,
                "since": iso(held.at),
                "until": iso(held.until),
                "at_rest": drained([held], under_way, now),
            }
            for held in queue.pauses
            if held.holds(now)
        ],
        "running": [
            {
                "run": str(run.run),
                "id": str(run.run.request),
                "site": str(running[run.run.request].site),
                "kind": running[run.run.request].kind.value,
                "until": iso(run.until),
            }
            for run in queue.running
        ],
        "waiting": waiting,
        "eta_accuracy": {
            "promises": accuracy.promises,
            "median_error_min": accuracy.median_min,
            "p90_error_min": accuracy.p90_min,
            "kept_percent": accuracy.kept_share,
        },
    }


def place_of(world: World, request: RequestId) -> dict[str, Any]:
    """The queue's words about one request; all null when it does not wait."""
    estate, now = world.estate(), world.clock.now()
    with world.ledger.transaction() as connection:
        queue = read_queue(connection, estate, now).queue
    for entry in queue.waiting:
        if entry.id == request:
            return _place(estate, queue, plan(queue), entry)
    return dict.fromkeys(PLACE)


def _place(estate: Estate, queue: Queue, made: Plan, entry: Waiting) -> dict[str, Any]:
    answer = made.answers[entry.id]
    placed = answer if isinstance(answer, Placement) else None
    pause = applying(queue.pauses, entry.scopes, queue.now)
    return {
        "position": answer.position,
        "line": placed.line if placed else None,
        "eta": iso(placed.start) if placed else None,
        "done_from": iso(placed.eta_low) if placed else None,
        "done_by": iso(placed.eta_high) if placed else None,
        "waiting_because": because(answer.reason, estate.customer(entry.site.customer).zone),
        "paused": None if pause is None else pause.sentence,
    }
