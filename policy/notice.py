"""A notice: one thing told to one person, with every word that depends on that person already chosen.

Invariant: the key is the same whenever the same change is told to the same person, so that a repetition can
be recognised; times are in the recipient's zone; nothing here is a secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from policy.names import EmailAddress

Value = str | bool | tuple[str, ...]
"""What a template is given: finished text, a question with yes or no, or lines."""


class NoticeKind(StrEnum):
    """What can be told; each has a template of its name."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    UNSCHEDULED = "unscheduled"
    MOVED = "moved"
    REMINDER = "reminder"
    LOG_OUT = "log_out"
    STARTED = "started"
    RELEASED = "released"
    COMPLETED = "completed"
    PUT_BACK = "put_back"
    STUCK = "stuck"
    STUCK_ON_CALL = "stuck_on_call"
    CLEARED = "cleared"
    QUESTION = "question"
    ANSWERED = "answered"
    DEFERRED = "deferred"
    RESUMED = "resumed"
    RETRIED = "retried"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNDO_EXPIRING = "undo_expiring"
    DIGEST = "digest"
    CAMPAIGN = "campaign"


class Channel(StrEnum):
    """By which way a notice leaves."""

    MAIL = "mail"
    WEBHOOK = "webhook"


@dataclass(frozen=True, kw_only=True)
class Invite:
    """An entry in the recipient's calendar.

    Attributes:
        uid: the same for all entries of one request, so that a later one replaces the earlier.
        sequence: grows with each change of the request.
        cancelled: the entry is to disappear.
        stamp: when the change happened.
    """

    uid: str
    sequence: int
    cancelled: bool
    start: datetime
    end: datetime
    stamp: datetime
    summary: str
    description: str
    location: str

    def payload(self) -> dict[str, object]:
        """As JSON values."""
        return {
            "uid": self.uid,
            "sequence": self.sequence,
            "cancelled": self.cancelled,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "stamp": self.stamp.isoformat(),
            "summary": self.summary,
            "description": self.description,
            "location": self.location,
        }


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One message to one person, or to the on-call channel.

    Attributes:
        key: unique in the ledger's outbox; the message's id.
        thread: what all messages of one request refer to.
        values: everything that its template may name.
    """

    kind: NoticeKind
    channel: Channel
    key: str
    thread: str
    to: EmailAddress
    name: str
    values: Mapping[str, Value]
    invite: Invite | None = None

    def payload(self) -> dict[str, object]:
        """What the outbox keeps, as JSON values; `infra.delivery` reads it back."""
        return {
            "kind": self.kind.value,
            "thread": self.thread,
            "to": str(self.to),
            "name": self.name,
            "values": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in self.values.items()
            },
            "invite": None if self.invite is None else self.invite.payload(),
        }


def key_of(*, thread: str, mark: str, kind: NoticeKind, to: EmailAddress, channel: Channel) -> str:
    """The outbox key of one notice, fit for a Message-ID.

    Args:
        thread: the request's thread, or the digest's.
        mark: tells this change of the request from its others.
        kind: what is told.
        to: the recipient; only a short digest of the address shows.
        channel: by which way.
    """
    recipient = hashlib.sha256(f"{channel.value} {to.lower()}".encode()).hexdigest()[:12]
    return f"{thread}.{mark}.{kind.value.replace('_', '-')}.{recipient}"
