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
from policy.free_text import free_text
from policy.lifecycle import Actor, Event, deletable
from policy.names import EmailAddress, RequestId
from policy.permissions import Action, Principal, engineer, freshet, may, principal_of
from policy.request import Kind, Outcome, Request
from policy.submission import Origin, check_change, check_start
from tasks.change import announce, change
from tasks.plan import undated
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
    words = free_text(reason, "reason", required=False) or "Cancelled on request."
    return act(world, number, as_email, Action.CANCEL, Event.CANCEL, words)


def defer(world: World, number: RequestId, as_email: str | None, reason: str) -> Request:
    """Put a waiting request on hold."""
    words = free_text(reason, "reason")
    return act(world, number, as_email, Action.DEFER, Event.DEFER, words, columns=undated)


def resume(world: World, number: RequestId, as_email: str | None) -> Request:
    """Take a request off hold."""
    return act(world, number, as_email, Action.RESUME, Event.RESUME, "")


def ask(world: World, number: RequestId, question: str) -> Request:
    """Put a question to the customer; the request waits. A run that has begun waits for nobody."""
    words = free_text(question, "question")

    def columns(request: Request) -> Mapping[str, object]:
        return {"question": words, "answer": None, **undated(request)}

    return act(world, number, None, Action.DEFER, Event.ASK, words, columns=columns)


def answer(world: World, number: RequestId, as_email: str | None, text: str) -> Request:
    """Answer the question a request waits for; it is given a date again."""
    words = free_text(text, "answer")
    return act(
        world,
        number,
        as_email,
        Action.ANSWER,
        Event.ANSWER,
        f"Answered: {words}",
        columns=lambda _: {"answer": words},
    )


def retry(world: World, number: RequestId, as_email: str | None) -> Request:
    """Give a request that was put back or expired a new chance.

    An engineer's word also lets a release be tried again that failed on this web application before.

    Raises:
        Refused: it may no longer be asked for, or a release failed here and no engineer has looked at it.
    """

    def check(connection: Connection, estate: Estate, who: Principal, request: Request) -> None:
        # Rights were looked at already; within a group's upgrade it is Freshet that asks.
        asks = freshet(who.email) if request.campaign else who
        findings = check_start(estate, asks, request, installed.versions(connection), world.clock.now())
        if findings:
            raise Refused(*findings)
        webapp = estate.webapp(request.site)
        if who.actor is Actor.ENGINEER:
            installed.acknowledge(connection, webapp=webapp.key)
            return
        if request.kind is not Kind.UPGRADE or request.version is None:
            return
        release = estate.release(webapp.application, request.version)
        if installed.known_bad(connection, webapp=webapp.key, release=release):
            raise Refused(
                f"version: {release.version} failed on {request.site} and was put back; a specialist of the "
                "hosting team looks at it and then lets it be tried again"
            )

    return act(
        world,
        number,
        as_email,
        Action.RETRY,
        Event.RETRY,
        "",
        columns=lambda _: {"scheduled_for": None, "start_by": None, "not_before": None},
        first=check,
    )


def delete(world: World, number: RequestId, as_email: str | None) -> None:
    """Take an ended request off the list.

    Raises:
        Refused: it has not ended, or holds its site locked.
    """
    who = principal(world, as_email)
    estate = world.estate()
    with world.ledger.transaction() as connection:
        request = allowed(connection, estate, who, number, Action.DELETE, world.clock.now())
        if not deletable(request.status, request.outcome):
            raise Refused(f"request: {number} is '{request.status.value}'; only an ended one can be deleted")
        requests.update(connection, number, {"deleted_at": world.clock.now()})
        requests.write_event(connection, at=world.clock.now(), verb="delete", actor=who.email, request=number)


def undo(world: World, number: RequestId, as_email: str | None, reason: str) -> Request:
    """Ask for a finished refresh to be taken back.

    Raises:
        Refused: it is not a finished refresh, was undone or followed by another, or its undo period is over.
    """
    words = free_text(reason, "reason", required=False)
    who = principal(world, as_email)
    estate = world.estate()
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        request = allowed(connection, estate, who, number, Action.UNDO, now)
        if request.kind is not Kind.REFRESH or request.outcome is not Outcome.DONE:
            raise Refused(f"request: {number} is not a finished refresh, so there is nothing to undo")
        run = runs.last(connection, number)
        if run is None or run.ended_at is None or run.ended_at + estate.undo <= now:
            raise Refused(
                f"request: the undo period of {number} ({estate.undo.days} days) is over; ask for a refresh"
            )
        later = requests.done_since(connection, request)
        if later is not None:
            what = "it was undone by" if later.kind is Kind.UNDO else "the site was changed again by"
            raise Refused(f"request: {number} cannot be undone any more, {what} {later.id}")
        wanted = Request(
            id=requests.next_number(connection),
            kind=Kind.UNDO,
            site=request.site,
            version=None,
            refresh=False,
            asked_by=who.email,
            asked_at=now,
            not_before=None,
            start_by=None,
            undoes=number,
        )
        made = requests.insert(connection, wanted, webapp=estate.webapp(request.site).key, note=words)
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
    words = free_text(reason, "reason")
    event = Event.CONFIRM if finished else Event.CLEAR

    def unlock(connection: Connection, estate: Estate, _who: Principal, request: Request) -> None:
        run = runs.last(connection, request.id)
        runs.unlock(connection, request.id)
        if finished and request.kind is Kind.UPGRADE and request.version is not None:
            webapp = estate.webapp(request.site)
            release = estate.release(webapp.application, request.version)
            installed.record(connection, webapp=webapp.key, release=release, run=run.id if run else None)
            installed.acknowledge(connection, webapp=webapp.key)

    return act(
        world,
        number,
        None,
        Action.CLEAR,
        event,
        words,
        columns=lambda _: {"scheduled_for": None},
        first=unlock,
    )


def act(
    world: World,
    number: RequestId,
    as_email: str | None,
    action: Action,
    event: Event,
    reason: str,
    *,
    columns: Callable[[Request], Mapping[str, object]] | None = None,
    first: Callable[[Connection, Estate, Principal, Request], None] | None = None,
) -> Request:
    """Let somebody cause `event` on a request: rights, then `first`, then the lifecycle, in one transaction.

    Args:
        world: the ledger and the estate.
        number: the request.
        as_email: for whom the command acts; None is the engineer at the terminal.
        action: the right that is needed.
        event: what happens.
        reason: one plain sentence.
        columns: what else changes, from the request as it stood.
        first: what is checked or done before, in the same transaction.

    Raises:
        Refused: no right to, `first` refused, or the lifecycle does not allow it.
    """
    who = principal(world, as_email)
    estate = world.estate()
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        request = allowed(connection, estate, who, number, action, now)
        if first is not None:
            first(connection, estate, who, request)
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
            columns=None if columns is None else columns(request),
        )


def allowed(
    connection: Connection, estate: Estate, who: Principal, number: RequestId, action: Action, now: datetime
) -> Request:
    """The request, locked, if `who` may do `action` to it.

    Raises:
        Refused: no right to; somebody else's request reads as if there were none.
    """
    request = requests.get(connection, number, lock=True)
    if not may(who, Action.SEE, estate, request.site):
        raise Refused(f"request: there is no {number}; `freshet request list` shows those there are")
    origin = Origin(campaign=request.campaign)
    findings = check_change(estate, who, request, action, now, origin=origin)
    if findings:
        raise Refused(*findings)
    return request
