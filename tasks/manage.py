"""What people do to a request that exists: cancel it, move it, answer it, take it back, clear it.

Invariant: rights first (`policy.submission.check_change`), then the lifecycle's table, then one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from infra.ledger import installed, requests, runs
from infra.ledger.connection import Connection
from policy.errors import Refused
from policy.estate import Estate
from policy.lifecycle import Event, deletable
from policy.local_time import parse_when
from policy.names import EmailAddress, RequestId
from policy.permissions import Action, Principal, engineer, may, principal_of
from policy.request import Kind, Outcome, Request, Status
from policy.submission import asked_times, check_change
from policy.wish import Wish
from tasks.change import announce, change
from tasks.world import World


def principal(world: World, as_email: str | None) -> Principal:
    """Who acts at this command: the contact named by `--as`, with its rights, else the engineer.

    Raises:
        Refused: the estate has no such contact.
    """
    if as_email is None:
        return engineer(world.settings.engineer)
    return principal_of(world.estate(), EmailAddress(as_email))


def zone_of(estate: Estate, who: Principal) -> ZoneInfo:
    """The zone in which `who` writes and reads times."""
    contact = estate.contacts.get(who.email)
    return ZoneInfo("UTC") if contact is None else contact.zone


def visible(world: World, who: Principal, number: RequestId) -> Request:
    """The request `number`, if `who` may see it.

    Raises:
        Refused: there is none, or it is somebody else's; the two read the same.
    """
    with world.ledger.transaction() as connection:
        request = requests.get(connection, number)
    if not may(who, Action.SEE, world.estate(), request.site):
        raise Refused(f"request: there is no {number}; `freshet request list` shows those there are")
    return request


def cancel(world: World, number: RequestId, as_email: str | None, reason: str) -> Request:
    """Cancel a waiting request."""
    return _act(world, number, as_email, Action.CANCEL, Event.CANCEL, reason or "Cancelled on request.")


def defer(world: World, number: RequestId, as_email: str | None, reason: str) -> Request:
    """Put a waiting request on hold."""
    return _act(world, number, as_email, Action.DEFER, Event.DEFER, reason, columns={"scheduled_for": None})


def resume(world: World, number: RequestId, as_email: str | None) -> Request:
    """Take a request off hold."""
    return _act(world, number, as_email, Action.RESUME, Event.RESUME, "")


def ask(world: World, number: RequestId, question: str) -> Request:
    """Put a question to the customer; the request waits."""
    return _act(
        world,
        number,
        None,
        Action.DEFER,
        Event.ASK,
        question,
        columns={"question": question, "scheduled_for": None},
    )


def answer(world: World, number: RequestId, as_email: str | None, text: str) -> Request:
    """Answer the question a request waits for."""
    with world.ledger.transaction() as connection:
        live = runs.live(connection, number) is not None
    event = Event.CARRY_ON if live else Event.ANSWER
    return _act(world, number, as_email, Action.ANSWER, event, f"Answered: {text}", columns={"answer": text})


def retry(world: World, number: RequestId, as_email: str | None) -> Request:
    """Give a request that was put back or expired a new chance; what failed before may be tried again."""
    who = principal(world, as_email)
    request = visible(world, who, number)
    webapp = world.estate().webapp(request.site).key
    return _act(
        world,
        number,
        as_email,
        Action.RETRY,
        Event.RETRY,
        "",
        columns={"scheduled_for": None, "start_by": None, "not_before": None},
        also=lambda connection, _: installed.acknowledge(connection, webapp=webapp),
    )


def reschedule(world: World, number: RequestId, as_email: str | None, at: str, reason: str) -> Request:
    """Move a waiting request; the planner confirms the new date or finds the next that fits."""
    who = principal(world, as_email)
    estate = world.estate()
    request = visible(world, who, number)
    now = world.clock.now()
    times = asked_times(
        Wish(
            site=request.site,
            version=request.version,
            refresh=request.refresh,
            at=parse_when(at, zone_of(estate, who), now),
        ),
        now,
    )
    columns = {"not_before": times.not_before, "start_by": times.start_by, "scheduled_for": times.not_before}
    if request.status is Status.TO_BE_SCHEDULED:
        columns["scheduled_for"] = None
    return _act(
        world, number, as_email, Action.MOVE, Event.MOVE, reason or "Moved on request.", columns=columns
    )


def delete(world: World, number: RequestId, as_email: str | None) -> None:
    """Take an ended request off the list.

    Raises:
        Refused: it has not ended, or holds its site locked.
    """
    who = principal(world, as_email)
    estate = world.estate()
    with world.ledger.transaction() as connection:
        request = requests.get(connection, number, lock=True)
        _allow(estate, who, request, Action.DELETE, world.clock.now())
        if not deletable(request.status, request.outcome):
            raise Refused(f"request: {number} is '{request.status.value}'; only an ended one can be deleted")
        requests.update(connection, number, {"deleted_at": world.clock.now()})
        requests.write_event(connection, at=world.clock.now(), verb="delete", actor=who.email, request=number)


def undo(world: World, number: RequestId, as_email: str | None, reason: str) -> Request:
    """Ask for a finished refresh to be taken back.

    Raises:
        Refused: it is not a finished refresh, or its undo period is over.
    """
    who = principal(world, as_email)
    estate = world.estate()
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        request = requests.get(connection, number, lock=True)
        _allow(estate, who, request, Action.UNDO, now)
        if request.kind is not Kind.REFRESH or request.outcome is not Outcome.DONE:
            raise Refused(f"request: {number} is not a finished refresh, so there is nothing to undo")
        run = runs.last(connection, number)
        if run is None or run.ended_at is None or run.ended_at + estate.undo < now:
            raise Refused(
                f"request: the undo period of {number} ({estate.undo.days} days) is over; ask for a refresh"
            )
        made = requests.insert(
            connection,
            number=requests.next_number(connection),
            kind=Kind.UNDO,
            site=request.site,
            webapp=estate.webapp(request.site).key,
            version=None,
            refresh=False,
            asked_by=who.email,
            asked_at=now,
            not_before=None,
            start_by=None,
            undoes=number,
            note=reason,
        )
        announce(world, connection, estate, made, at=now, who=who.email)
        return made


def clear(world: World, number: RequestId, reason: str, *, finished: bool) -> Request:
    """Unlock a stuck site after a person has mended it.

    Args:
        world: the ledger.
        number: the stuck request.
        reason: what was mended.
        finished: the work was brought to its end by hand, instead of taken back.
    """
    event = Event.CONFIRM if finished else Event.CLEAR
    return _act(
        world, number, None, Action.CLEAR, event, reason, columns={"scheduled_for": None}, also=runs.unlock
    )


def _act(
    world: World,
    number: RequestId,
    as_email: str | None,
    action: Action,
    event: Event,
    reason: str,
    *,
    columns: Mapping[str, object] | None = None,
    also: Callable[[Connection, RequestId], object] | None = None,
) -> Request:
    who = principal(world, as_email)
    estate = world.estate()
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        request = _get(connection, estate, who, number)
        _allow(estate, who, request, action, now)
        if also is not None:
            also(connection, number)
        return change(
            world,
            connection,
            estate,
            number,
            event,
            at=now,
            by=who.actor,
            who=who.email,
            reason=reason,
            columns=columns,
        )


def _get(connection: Connection, estate: Estate, who: Principal, number: RequestId) -> Request:
    request = requests.get(connection, number, lock=True)
    if not may(who, Action.SEE, estate, request.site):
        raise Refused(f"request: there is no {number}; `freshet request list` shows those there are")
    return request


def _allow(estate: Estate, who: Principal, request: Request, action: Action, now: datetime) -> None:
    findings = check_change(estate, who, request, action, now)
    if findings:
        raise Refused(*findings)
