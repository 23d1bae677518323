"""The forms in Prefect's pages on which open questions can be answered.

Invariant: a question has at most one form; what is true about it is never read from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from infra.ledger.connection import Connection, Row
from policy.names import RequestId


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that was put to somebody.

    Attributes:
        event: the number of the event that put it; a request may be asked more than once.
    """

    request: RequestId
    event: int

    @property
    def key(self) -> str:
        """The idempotency key of its form."""
        return f"{self.request}:question:{self.event}"


@dataclass(frozen=True, kw_only=True)
class Form:
    """The Prefect run that waits for the answer."""

    question: Question
    flow_run: UUID


def wanted(connection: Connection) -> list[Question]:
    """Open questions without a form."""
    rows = connection.execute(
        "select question.* from open_question question left join form using (request, event)"
        " where form.event is null order by event"
    ).fetchall()
    return [_question(row) for row in rows]


def asked(connection: Connection, request: RequestId) -> Question | None:
    """The question that `request` waits for, if it does."""
    rows = connection.execute("select * from open_question where request = %s", (request.number,)).fetchall()
    return _question(rows[0]) if rows else None


def pointless(connection: Connection) -> list[Form]:
    """Forms still open although their question was answered elsewhere, or fell away."""
    rows = connection.execute(
        "select form.* from form left join open_question question using (request, event)"
        " where form.closed_at is null and question.event is null order by event"
    ).fetchall()
    return [Form(question=_question(row), flow_run=UUID(str(row["flow_run"]))) for row in rows]


def remember(connection: Connection, form: Form) -> None:
    """Note a form that was made."""
    connection.execute(
        "insert into form (request, event, flow_run) values (%s, %s, %s)"
        " on conflict (request, event) do nothing",
        (form.question.request.number, form.question.event, str(form.flow_run)),
    )


def close(connection: Connection, question: Question) -> None:
    """Nobody can answer on this form any more."""
    connection.execute(
        "update form set closed_at = clock_timestamp()"
        " where request = %s and event = %s and closed_at is null",
        (question.request.number, question.event),
    )


def _question(row: Row) -> Question:
    cell: dict[str, Any] = dict(row)
    return Question(request=RequestId.of(cell["request"]), event=cell["event"])
