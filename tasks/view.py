"""What people and machines are shown of a request: one shape for the command, the portal and `result.json`.

Invariant: keys are stable; times are UTC in ISO form; a value that does not exist is null, never left out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from infra.ledger import etas, requests, runs
from infra.ledger.connection import Connection
from infra.ledger.etas import Promise
from policy.names import RequestId
from policy.request import Request


def view(request: Request) -> dict[str, Any]:
    """One line of a list."""
    return {
        "id": str(request.id),
        "kind": request.kind.value,
        "customer": str(request.site.customer),
        "site": request.site.environment.value,
        "version": request.version,
        "refresh": request.refresh,
        "status": request.status.value,
        "outcome": None if request.outcome is None else request.outcome.value,
        "asked_by": str(request.asked_by),
        "asked_at": iso(request.asked_at),
        "not_before": iso(request.not_before),
        "start_by": iso(request.start_by),
        "scheduled_for": iso(request.scheduled_for),
        "attempt": request.attempt,
        "undoes": request.undoes,
        "campaign": request.campaign,
        "reason": request.reason,
    }


def detail(connection: Connection, request_id: RequestId) -> dict[str, Any]:
    """All there is to show of one request: its events, its last run with every step, its report.

    Raises:
        Refused: there is no such request.
    """
    request = requests.get(connection, request_id)
    run = runs.last(connection, request_id)
    journal = () if run is None else runs.journal(connection, run.id)
    return {
        **view(request),
        **_more(connection, request_id),
        "eta_told": _promise(etas.latest(connection, request_id)),
        "run": None if run is None else str(run.id),
        "started": None if run is None else iso(run.started_at),
        "ended": None if run is None else iso(run.ended_at),
        "cause": None if run is None else run.cause,
        "steps": [
            {
                "name": entry.step,
                "state": entry.state.value,
                "seconds": entry.seconds,
                "undo_seconds": entry.undo_seconds,
                "error": entry.error,
                "facts": dict(entry.facts),
            }
            for entry in journal
        ],
        "events": [
            {
                "at": iso(_time(event["at"])),
                "verb": event["verb"],
                "by": event["actor"],
                "from": event["from_status"],
                "to": event["to_status"],
                "outcome": event["outcome"],
                "reason": event["reason"],
            }
            for event in requests.events(connection, request_id)
        ],
        "report": None if run is None else runs.report(connection, run.id),
    }


def _more(connection: Connection, request_id: RequestId) -> dict[str, Any]:
    row = connection.execute(
        "select note, question, answer, superseded_by from request where number = %s",
        (request_id.number,),
    ).fetchone()
    cell: dict[str, Any] = dict(row or {})
    newer = cell.get("superseded_by")
    return {**cell, "superseded_by": None if newer is None else str(RequestId.of(newer))}


def _promise(told: Promise | None) -> dict[str, Any] | None:
    """What was promised about the end, and by how many minutes that was missed; 0 within the range."""
    if told is None:
        return None
    return {
        "told_at": iso(told.told_at),
        "start": iso(told.start),
        "done_from": iso(told.low),
        "done_by": iso(told.high),
        "moves": told.moves,
        "ended": iso(told.ended_at),
        "error_min": None if told.error_s is None else round(told.error_s / 60, 1),
    }


def iso(at: datetime | None) -> str | None:
    """UTC in ISO form, to the second."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None
