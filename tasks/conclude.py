"""Conclude a run: its end, the request's outcome, the report and the news, in one transaction.

Invariant: a run is concluded once; whoever is killed before the commit leaves a run that the next worker
concludes, whoever is killed after it leaves nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.ledger import installed, lease, runs
from policy.durations import Phase
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


def conclude(hold: Hold, finish: Finish, display: Display) -> Request:
    """Write how the run that `hold` holds ended, and show its report.

    Returns:
        The request as it ended.

    Raises:
        Busy: another worker took the run over.
        Unavailable: the ledger is away; the run is left to whoever takes it over.
    """
    with hold.proven() as connection:
        journal = runs.journal(connection, hold.run)
        run = runs.last(connection, hold.request.id)
        cause = (run.cause if run else None) or ""
        failed = [entry.step for entry in journal if entry.state is EntryState.UNDO_FAILED]
        reason = {
            Finish.DONE: "",
            Finish.PUT_BACK: f"{cause}. The site is as it was before.",
            Finish.STUCK: f"{cause}. Not put back: {', '.join(failed)}. The site is locked.",
        }[finish]
        now = hold.clock.now()
        report = report_of(hold.estate, hold.request, hold.run, journal, finish, cause=cause, at=now)
        facts = {key: value for entry in journal for key, value in entry.facts.items()}
        request = change(
            hold.world,
            connection,
            hold.estate,
            hold.request.id,
            _EVENTS[finish],
            at=now,
            by=Actor.FRESHET,
            who=str(hold.run),
            reason=reason,
            detail={
                "run": hold.run,
                "cause": cause,
                "took_s": None if run is None else (now - run.started_at).total_seconds(),
                "downtime_s": facts.get("offline_seconds"),
            },
        )
        runs.end(connection, hold.run, stuck=finish is Finish.STUCK, report=report)
        runs.observe(
            connection,
            hold.run,
            customer=hold.request.site.customer,
            environment=hold.request.site.environment.value,
            kind=hold.request.kind.value,
            seconds=durations(journal, finish),
        )
        if hold.request.kind is Kind.UPGRADE and hold.request.version is not None:
            application = hold.estate.webapp(hold.request.site).application
            release = hold.estate.release(application, hold.request.version)
            if finish is Finish.DONE:
                installed.record(connection, webapp=hold.webapp, release=release, run=hold.run)
            else:
                installed.mark_bad(connection, webapp=hold.webapp, release=release, run=hold.run)
        lease.release(connection, webapp=hold.webapp, run=hold.run, epoch=hold.epoch)
    display.say(f"{hold.request.id}: {request.status.value} ({finish.value})")
    display.report(f"report-{hold.run}", report)
    return request


def durations(journal: Sequence[Entry], finish: Finish) -> dict[str, float]:
    """What the planner learns: each step of a good run and their sum, or how long the put-back took."""
    if finish is Finish.DONE:
        steps = {entry.step: entry.seconds for entry in journal if entry.seconds is not None}
        return {**steps, Phase.WORK.value: sum(steps.values())}
    if finish is Finish.PUT_BACK:
        return {Phase.PUT_BACK.value: sum(entry.undo_seconds or 0.0 for entry in journal)}
    return {}
