"""Change a request's status: the one door through which every status goes.

Invariant: the new status, its event, and everything that has to be told about it are one transaction; who is
told what is decided by `policy.notices`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from infra.ledger import etas, outbox, requests, runs
from infra.ledger.connection import Connection
from policy.estate import Estate
from policy.lifecycle import Actor, Event, advance
from policy.names import RequestId
from policy.notices import Change, notices_for
from policy.request import Request
from tasks.world import World


def change(
    world: World,
    connection: Connection,
    estate: Estate,
    request: RequestId,
    event: Event,
    *,
    at: datetime,
    by: Actor,
    who: str,
    reason: str = "",
    columns: Mapping[str, object] | None = None,
    detail: Mapping[str, object] | None = None,
) -> Request:
    """Move `request` along the lifecycle and put the news into the outbox.

    Args:
        world: for who is on call.
        connection: an open transaction of the ledger.
        estate: who is told, and in which zone.
        request: the request.
        event: what happens to it.
        at: when, aware UTC.
        by: in which capacity somebody causes it.
        who: the person or part that causes it, for the event.
        reason: one plain sentence; kept on the request.
        columns: what else of the request changes, for example `scheduled_for`.
        detail: facts for the event and the notice, never a secret.

    Returns:
        The request as it is now.

    Raises:
        Refused: the lifecycle does not allow it.
    """
    before = requests.get(connection, request, lock=True)
    run = runs.live(connection, request)
    state = advance(before.status, before.outcome, event, by)
    requests.update(
        connection,
        request,
        {**(columns or {}), "status": state.status, "outcome": state.outcome, "reason": reason},
    )
    number = requests.write_event(
        connection,
        at=at,
        verb=event.value,
        actor=who,
        request=request,
        run=None if run is None else run.id,
        before=before.status,
        after=state.status,
        outcome=state.outcome,
        reason=reason,
        detail=detail,
    )
    after = requests.get(connection, request)
    outbox.put(
        connection,
        channel="status",
        key=f"status-{number}",
        request=request,
        payload={
            "schema": "freshet.status/v1",
            "event": number,
            "request": request,
            "kind": after.kind.value,
            "site": str(after.site),
            "from": before.status.value,
            "to": after.status.value,
            "outcome": None if after.outcome is None else after.outcome.value,
            "at": at.isoformat(),
            "scheduled_for": None if after.scheduled_for is None else after.scheduled_for.isoformat(),
            "reason": reason,
        },
    )
    facts = detail or {}
    _promise(connection, after, event, by, facts, at)
    _tell(
        world,
        connection,
        estate,
        Change(
            event=event,
            number=number,
            at=at,
            before=before,
            after=after,
            expected=_length(facts.get("expected_s")),
            took=_length(facts.get("took_s")),
            downtime=_length(facts.get("downtime_s")),
            question=reason if event is Event.ASK else "",
            answer=reason if event is Event.ANSWER else "",
            newer=None if event is not Event.SUPERSEDE else RequestId(str(facts["superseded_by"])),
            run="" if run is None else str(run.id),
        ),
    )
    return after


def announce(
    world: World, connection: Connection, estate: Estate, request: Request, *, at: datetime, who: str
) -> None:
    """Write the event of a request that was just accepted, and tell its contacts."""
    number = requests.write_event(
        connection,
        at=at,
        verb="submit",
        actor=who,
        request=request.id,
        after=request.status,
        reason=request.reason,
    )
    _tell(world, connection, estate, Change(event=None, number=number, at=at, before=None, after=request))


def _tell(world: World, connection: Connection, estate: Estate, change_: Change) -> None:
    for notice in notices_for(
        change_,
        estate=estate,
        on_call=world.settings.on_call,
        webhook=world.settings.on_call_webhook is not None,
    ):
        outbox.put(
            connection,
            channel=notice.channel.value,
            key=notice.key,
            request=change_.after.id,
            payload=notice.payload(),
        )


def _promise(
    connection: Connection, after: Request, event: Event, by: Actor, facts: Mapping[str, object], at: datetime
) -> None:
    """Keep what was promised about the end of the work, and what became of it."""
    if by is not Actor.FRESHET:
        etas.forget(connection, after.id)
    if event is Event.COMPLETE:
        etas.settle(connection, after.id, at=at)
    low, high = facts.get("eta_low"), facts.get("eta_high")
    if after.scheduled_for is not None and isinstance(low, str) and isinstance(high, str):
        etas.promise(
            connection,
            after.id,
            told_at=at,
            start=after.scheduled_for,
            low=datetime.fromisoformat(low),
            high=datetime.fromisoformat(high),
        )


def _length(seconds: object) -> timedelta | None:
    return timedelta(seconds=seconds) if isinstance(seconds, int | float) else None
