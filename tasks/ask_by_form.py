"""Ask by Prefect's form: the same submit as everywhere, with fields that explain themselves.

Invariant: the form decides nothing; the contact's rights and zone count, as at every other door.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from policy.errors import Refused
from policy.local_time import parse_when
from policy.names import CustomerName, EmailAddress, Environment, SiteId, Version
from policy.permissions import principal_of
from policy.wish import Wish
from tasks.manage import zone_of
from tasks.submit import submit
from tasks.world import open_world


class UpdateRequest(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    customer: str = Field(description="the customer's short name, such as lakeside", max_length=30)
    site: Literal["sandbox", "staging", "preview", "production"] = Field(description="which of its sites")
    contact: str = Field(
        description="e-mail address of the contact for whom you ask; that contact's rights and zone count",
        max_length=200,
    )
    version: str = Field(
        default="", description="release to upgrade to; empty for a database refresh only", max_length=30
    )
    refresh: bool = Field(default=True, description="copy Production's database into the site")
    at: str = Field(
        default="",
        description="local time such as 2026-11-22 02:00 in the contact's zone; empty for as soon as it fits",
        max_length=30,
    )
    note: str = Field(default="", description="your own words", max_length=500)


def ask_by_form(update: UpdateRequest) -> str:
    """Submit what the form says.

    Returns:
        One sentence about the request that was written.

    Raises:
        Refused: the wish breaks a rule.
        Unavailable: the ledger does not answer.
    """
    world = open_world()
    estate = world.estate()
    who = principal_of(estate, EmailAddress(update.contact))
    if not update.version and not update.refresh:
        raise Refused("refresh: ask for a version, a database refresh, or both")
    wish = Wish(
        site=SiteId(CustomerName(update.customer), Environment(update.site)),
        version=Version(update.version) if update.version else None,
        refresh=update.refresh,
        at=parse_when(update.at, zone_of(estate, who), world.clock.now()) if update.at else None,
        note=update.note,
    )
    request = submit(world, wish, who).request
    return f"{request.id} for {request.site} is {request.status.value}"
