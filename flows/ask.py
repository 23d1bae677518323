"""Ask: the form in Prefect's UI on which an engineer enters an update request."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from policy.errors import Refused
from tasks.ask_by_form import UpdateRequest, ask_by_form


@flow(name="ask", flow_run_name="ask for {update.customer}/{update.site}", persist_result=False)
def ask(update: UpdateRequest) -> State[None]:
    """Submit an update request exactly as the queue, the command and the portal do.

    Args:
        update: what is asked for; each field says what it takes.
    """
    try:
        return Completed(message=ask_by_form(update))
    except Refused as error:
        return Failed(name="Refused", message=str(error))
