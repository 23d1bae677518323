"""Answer a question on Prefect's form: the same answer as by the command, with the rights of who gives it.

Invariant: the ledger decides. A form whose question is not open any more says so and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect.input import RunInput
from pydantic import ConfigDict, Field

from infra.ledger import forms
from infra.ledger.requests import get
from policy.names import EmailAddress, RequestId
from tasks.manage import answer
from tasks.world import open_world

SPARE_SECONDS = 86_400
"""The form outlives the question's own time-out, which puts the request on hold and then closes the form."""


class Answer(RunInput):
    """What the form takes; nothing has a default, so that resuming with nothing is no answer."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    by: str = Field(
        description="e-mail address of the contact who answers, or your own if you answer for a contact",
        min_length=3,
        max_length=200,
    )
    answer: str = Field(description="the answer, in your own words", min_length=1, max_length=500)


@dataclass(frozen=True, kw_only=True)
class OpenQuestion:
    """What a form has to show.

    Attributes:
        key: the same for as long as this question is open; lower case and dashes, as Prefect takes it.
        words: Markdown, for whoever answers.
        seconds: how long the form waits.
    """

    key: str
    words: str
    seconds: int


def open_question(number: str) -> OpenQuestion | None:
    """The question that a request waits for; None when it waits for none.

    Raises:
        Refused: there is no such request.
        Unavailable: the ledger does not answer.
    """
    world = open_world()
    with world.ledger.transaction() as connection:
        request = get(connection, RequestId(number))
        found = forms.asked(connection, request.id)
    if found is None:
        return None
    return OpenQuestion(
        key=f"question-{found.event}",
        words=f"**{request.id}, {request.site}**: {request.reason}",
        seconds=world.settings.answer_days * 86_400 + SPARE_SECONDS,
    )


def answer_by_form(number: str, by: str, words: str) -> str:
    """Write the answer down.

    Args:
        number: the request's.
        by: e-mail address of the contact who answers, or of the engineer who answers in a contact's place.
        words: the answer.

    Returns:
        One sentence about the request.

    Raises:
        Refused: no such contact, no right to, or nothing is asked any more.
        Unavailable: the ledger does not answer.
    """
    world = open_world()
    who = EmailAddress(by)
    request = answer(world, RequestId(number), None if who == world.settings.engineer else who, words)
    return f"{request.id} for {request.site} is {request.status.value}"
