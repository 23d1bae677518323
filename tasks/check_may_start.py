"""Check that the request may still start: rights, releases and time may have changed since it was accepted.

Invariant: what was accepted by day does not start in the morning that belonged to the night: the work and its
put-back must fit what is left of the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from infra.ledger import installed
from infra.ledger.connection import Ledger
from policy.errors import Refused
from policy.permissions import authority_of
from policy.submission import check_start
from policy.waiting import Calendars
from tasks.queue import expected, observations
from tasks.step import Step, Work


def _done(_work: Work) -> bool:
    return False


def _do(work: Work) -> Mapping[str, object]:
    now = work.clock.now()
    with Ledger(work.settings.ledger, work.settings.ledger_passfile).transaction() as connection:
        running = installed.versions(connection)
        took = expected(work.request, observations(connection))
    findings = list(
        check_start(work.estate, authority_of(work.estate, work.request), work.request, running, now)
    )
    calendar = Calendars(work.estate, now - timedelta(days=1)).of(work.request.site, work.request.kind)
    span = calendar.span(calendar.index(now))
    if span is None or span.start > now:
        findings.append(f"at: {work.request.site} has no open window now; ask for a new date")
    elif now + took.needed > span.end:
        left = int((span.end - now).total_seconds() // 60)
        findings.append(
            f"at: the work and its put-back may take {int(took.needed.total_seconds() // 60)} minutes, and "
            f"{left} are left of the window"
        )
    if findings:
        raise Refused(*findings)
    return {
        "expected_seconds": round(took.expected.total_seconds()),
        "put_back_seconds": round(took.put_back.total_seconds()),
        "window_ends": span.end.isoformat() if span is not None and span.name else None,
    }


def _undo(work: Work) -> None:
    """Looking changed nothing."""


check_may_start = Step(
    name="check_may_start", title="Check that it may start", done=_done, do=_do, undo=_undo
)
