"""Question: a form in Prefect's pages that waits until somebody answers what a customer was asked."""

from __future__ import annotations

from prefect import flow, suspend_flow_run
from prefect.client.schemas.objects import State
from prefect.states import Completed

from policy.errors import Refused
from tasks.answer_by_form import Answer, answer_by_form, open_question


@flow(name="question", persist_result=False)
def question(request: str) -> State[None]:
    """Wait, suspended and without a process, for the answer that `request` needs; then write it down.

    An answer that is refused is asked for again, with the reason.

    Args:
        request: the request's number, such as R42; it must be Pending Input.
    """
    refused = ""
    for attempt in range(1, 100):
        asked = open_question(request)
        if asked is None:
            return Completed(message=f"{request} waits for no answer any more")
        given = suspend_flow_run(
            wait_for_input=Answer.with_initial_data(description=f"{asked.words}{refused}"),
            timeout=asked.seconds,
            key=f"{asked.key}-{attempt}",
        )
        try:
            return Completed(message=answer_by_form(request, given.by, given.answer))
        except Refused as error:
            refused = f"\n\nYour answer was not taken: {error}"
    raise Refused(f"request: {request} was answered wrongly a hundred times; use `freshet request answer`")
