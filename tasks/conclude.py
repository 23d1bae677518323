"""Conclude a run: its end, the request's outcome, the report and the news, in one transaction.

Invariant: a run is concluded once; whoever is killed before the commit leaves a run that the next worker
concludes, whoever is killed after it leaves nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from infra.failpoints import CONCLUDE, Moment, failpoint
from infra.ledger import installed, lease, requests, runs
from infra.ledger.connection import Connection
from infra.redaction import redact
from policy.durations import Phase
from policy.errors import Busy
from policy.journal import Entry, EntryState, Finish
from policy.lifecycle import Actor, Event
from policy.request import Kind, Request
from tasks.change import change
from tasks.display import Display
from tasks.hold import Hold
from tasks.report import report_of

_EVENTS = {
    Finish.DONE: Event.COMPLETE,
    Finish.PUT_BACK: Event.PUT_BACK,
    Finish.STUCK: Event.STICK,
}

CHANGES_RELEASE = "change_over"
"""A release that was turned down before this step was not tried."""


def conclude(hold: Hold, finish: Finish, display: Display) -> Request:
    """Write how the run that `hold` holds ended, and show its report.

    Returns:
        The request as it ended.

    Raises:
        Busy: another worker took the run over.
        Unavailable: the ledger is away; the run is left to whoever takes it over.
    """
    point = f"{hold.request.kind.value}.{CONCLUDE}"
    failpoint(f"{point}.{Moment.MID}")
    try:
        request, report = hold.record(lambda connection: _write(hold, connection, finish))
    except Busy:
        # The answer to a commit may be lost: then the second try finds the lease given back.
        request, report = _ended(hold)
    failpoint(f"{point}.{Moment.AFTER_OUTCOME}")
    display.say(f"{hold.request.id}: {request.status.value} ({request.outcome})")
    display.report(f"report-{hold.run}", report)
    return request


def _ended(hold: Hold) -> tuple[Request, str]:
    with hold.world.ledger.transaction() as connection:
        report = runs.report(connection, hold.run)
        request = requests.get(connection, hold.request.id)
        alive = runs.live(connection, hold.request.id)
    if report is None or (alive is not None and alive.state == "live"):
        raise Busy(f"run {hold.run}: another worker took over; this one touches nothing more")
    return request, report


def _write(hold: Hold, connection: Connection, finish: Finish) -> tuple[Request, str]:
    journal = runs.journal(connection, hold.run)
    run = runs.last(connection, hold.request.id)
    cause = redact((run.cause if run else None) or "")
    failed = [entry.step for entry in journal if entry.state is EntryState.UNDO_FAILED]
    reason = {
        Finish.DONE: "",
        Finish.PUT_BACK: f"{cause}. The site is as it was before.",
        Finish.STUCK: f"{cause}. Not put back: {', '.join(failed)}. The site is locked.",
    }[finish]
    now = hold.clock.now()
    report = redact(report_of(hold.estate, hold.request, hold.run, journal, finish, cause=cause, at=now))
    facts = {key: value for entry in journal for key, value in entry.facts.items()}
    detail = {
        "run": hold.run,
        "cause": cause,
        "took_s": None if run is None else (now - run.started_at).total_seconds(),
        "downtime_s": facts.get("offline_seconds"),
    }
    request = _change(hold, connection, _EVENTS[finish], now, reason, detail)
    runs.end(connection, hold.run, stuck=finish is Finish.STUCK, report=report)
    runs.observe(
        connection,
        hold.run,
        customer=hold.request.site.customer,
        environment=hold.request.site.environment.value,
        kind=hold.request.kind.value,
        seconds=durations(journal, finish),
    )
    _note_release(hold, connection, journal, finish)
    lease.release(connection, webapp=hold.webapp, run=hold.run, epoch=hold.epoch)
    return request, report


def _change(
    hold: Hold, connection: Connection, event: Event, at: datetime, reason: str, detail: Mapping[str, object]
) -> Request:
    return change(
        hold.world,
        connection,
        hold.estate,
        hold.request.id,
        event,
        at=at,
        by=Actor.FRESHET,
        who=str(hold.run),
        reason=reason,
        detail=detail,
    )


def _note_release(hold: Hold, connection: Connection, journal: Sequence[Entry], finish: Finish) -> None:
    """Remember what the web application runs now, or that the release was tried on it in vain."""
    if hold.request.kind is not Kind.UPGRADE or hold.request.version is None:
        return
    application = hold.estate.webapp(hold.request.site).application
    release = hold.estate.release(application, hold.request.version)
    if finish is Finish.DONE:
        installed.record(connection, webapp=hold.webapp, release=release, run=hold.run)
    elif any(entry.step == CHANGES_RELEASE for entry in journal):
        installed.mark_bad(connection, webapp=hold.webapp, release=release, run=hold.run)


def durations(journal: Sequence[Entry], finish: Finish) -> dict[str, float]:
    """What the planner learns: each step of a good run and their sum, or how long the put-back took."""
    if finish is Finish.DONE:
        steps = {entry.step: entry.seconds for entry in journal if entry.seconds is not None}
        return {**steps, Phase.WORK.value: sum(steps.values())}
    if finish is Finish.PUT_BACK:
        return {Phase.PUT_BACK.value: sum(entry.undo_seconds or 0.0 for entry in journal)}
    return {}
