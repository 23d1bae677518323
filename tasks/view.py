"""What people and machines are shown of a request: one shape for the command, the portal and `result.json`.

Invariant: keys are stable; times are UTC in ISO form; a value that does not exist is null, never left out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from infra.ledger import requests, runs
from infra.ledger.connection import Connection
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


def iso(at: datetime | None) -> str | None:
    """UTC in ISO form, to the second."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None
