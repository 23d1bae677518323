"""Ask: the form in Prefect's UI on which an engineer enters an update request."""

from __future__ import annotations

from prefect import flow
from prefect.states import Completed, Failed, State
from pydantic import Field

from policy.errors import Refused
from tasks.ask_by_form import Place, ask_by_form


@flow(name="ask for an update", persist_result=False)
def ask(
    customer: str = Field(description="the customer's short name, such as lakeside"),
    site: Place = Field(description="which of the customer's sites"),
    contact: str = Field(description="e-mail address of the contact for whom you ask; it gets the notices"),
    version: str = Field(default="", description="release to upgrade to; empty for a database refresh only"),
    refresh: bool = Field(default=True, description="copy Production's database into the site"),
    at: str = Field(default="", description="local time such as 2026-11-22 02:00; empty for as soon as it fits"),
    zone: str = Field(default="", description="time zone of that time, such as America/Chicago; empty for the contact's"),
) -> State[None]:
    """Submit an update request exactly as the queue, the command and the portal do."""
    try:
        return Completed(message=ask_by_form(customer, site, contact, version, refresh=refresh, at=at, zone=zone))
    except Refused as error:
        return Failed(name="Refused", message=str(error))
