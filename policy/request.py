"""A request: what somebody asked for, and where it stands.

Invariant: the statuses are the mission's words; an ended request has an outcome, an open one has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from policy.names import EmailAddress, RequestId, SiteId, Version


class Kind(StrEnum):
    """What is to be done to the site."""

    REFRESH = "refresh"
    UPGRADE = "upgrade"
    UNDO = "undo"
    ENGINE = "engine"


class Status(StrEnum):
    """The nine statuses, word for word. Source: the mission, "Statuses"."""

    TO_BE_SCHEDULED = "To Be Scheduled"
    SCHEDULED = "Scheduled"
    NOT_STARTED = "Not Started"
    IN_PROGRESS = "In Progress"
    COMPLETED = "Completed"
    PENDING_INPUT = "Pending Input"
    DEFERRED = "Deferred"
    NEW_VERSION_REQUESTED = "New Version Requested"
    UNABLE_TO_COMPLETE = "Unable to Complete"


class Outcome(StrEnum):
    """How an ended request ended. Source: the design, §2."""

    DONE = "done"
    PUT_BACK = "put_back"
    STUCK = "stuck"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One update request as the ledger holds it; what has a default is so until something happens to it.

    Attributes:
        version: the release asked for; None means a database refresh only.
        refresh: the site's database is copied from Production (before an upgrade, when both are asked for).
        not_before: the preferred date; None means as soon as it fits.
        start_by: after this instant it may not start any more.
        scheduled_for: the confirmed start, once there is one.
        attempt: how many runs were begun for it.
        undoes: the finished refresh that an undo takes back.
        campaign: the group's upgrade that it is part of.
        reason: why it stands as it does, one plain sentence.
    """

    id: RequestId
    kind: Kind
    site: SiteId
    version: Version | None
    refresh: bool
    asked_by: EmailAddress
    asked_at: datetime
    not_before: datetime | None
    start_by: datetime | None
    scheduled_for: datetime | None = None
    status: Status = Status.TO_BE_SCHEDULED
    outcome: Outcome | None = None
    attempt: int = 0
    undoes: RequestId | None = None
    campaign: str | None = None
    reason: str = ""
