"""Move a waiting request to another date, asked for by a contact or set by the hosting team.

Invariant: nobody is told a date that cannot be kept: the planner places the request with the new time before
anything is written, and says why when the date becomes another than the one asked for.
"""

from __future__ import annotations

from dataclasses import replace

from infra.ledger.connection import Connection
from policy.errors import Refused
from policy.estate import Estate
from policy.free_text import free_text
from policy.lifecycle import Event
from policy.local_time import parse_when
from policy.names import RequestId
from policy.permissions import Action
from policy.plan import Placement, Why
from policy.planner import plan
from policy.request import Request, Status
from policy.submission import Asked, asked_times
from policy.wish import Wish
from tasks.change import change
from tasks.manage import allowed, principal, zone_of
from tasks.plan import because, dated, promised
from tasks.queue import read_queue
from tasks.world import World

_AS_ASKED = frozenset({Why.ASKED_FOR, Why.NOW, Why.CONFIRMED})


def reschedule(world: World, number: RequestId, as_email: str | None, at: str, reason: str) -> Request:
    """Move `number` to the local time `at` of whoever asks, or the next time that fits.

    Raises:
        Refused: no right to, no such time, or no date that fits.
    """
    words = free_text(reason, "reason", required=False)
    who = principal(world, as_email)
    estate, now = world.estate(), world.clock.now()
    with world.ledger.transaction() as connection:
        request = allowed(connection, estate, who, number, Action.MOVE, now)
        wish = Wish(
            site=request.site,
            version=request.version,
            refresh=request.refresh,
            at=parse_when(at, zone_of(estate, who), now),
        )
        columns, facts, why = _place(connection, estate, world, request, asked_times(wish, now))
        return change(
            world,
            connection,
            estate,
            number,
            Event.MOVE,
            at=now,
            by=who.actor,
            who=who.email,
            reason=" ".join(filter(None, [words or "Moved on request.", why])),
            columns=columns,
            detail=facts,
        )


def _place(
    connection: Connection, estate: Estate, world: World, request: Request, asked: Asked
) -> tuple[dict[str, object], dict[str, object], str]:
    """The columns of the new date, what is told with it, and why it is not the one asked for."""
    columns: dict[str, object] = {"not_before": asked.not_before, "start_by": asked.start_by}
    if request.status is not Status.SCHEDULED:
        return {**columns, "scheduled_for": None}, {}, ""
    now = world.clock.now()
    queue = read_queue(connection, estate, now).queue
    waiting = tuple(
        replace(entry, not_before=asked.not_before, start_by=asked.start_by, confirmed=None)
        if entry.id == request.id
        else entry
        for entry in queue.waiting
    )
    answer = plan(replace(queue, waiting=waiting)).answers[request.id]
    sentence = because(answer.reason, estate.customer(request.site.customer).zone)
    if not isinstance(answer, Placement):
        raise Refused(f"at: {request.id} cannot be given this date: {sentence}")
    (moved,) = (entry for entry in waiting if entry.id == request.id)
    why = "" if answer.reason.why in _AS_ASKED else sentence
    return columns | dated(moved, answer, now), promised(answer), why
