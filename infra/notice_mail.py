"""A notice as an e-mail: headers that thread it, words from its template, and the date for the calendar.

Invariant: the same outbox entry always gives the same message with the same Message-ID, and nothing that
people wrote can begin a header or a part.
"""

from __future__ import annotations

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from infra.calendar_invite import icalendar
from infra.ledger.outbox import OutboxEntry
from infra.notice_text import Text, notice_text, one_line
from policy.errors import Refused
from policy.names import EmailAddress
from policy.notice import Invite, NoticeKind

# Folding tears long message ids and references apart; no header comes near the 998 characters of RFC 5322.
POLICY = SMTP.clone(max_line_length=900, cte_type="7bit")
FROM_NAME = "Hosting updates"


class InvitePayload(BaseModel):
    """A calendar entry as the outbox keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    uid: str
    sequence: int
    cancelled: bool
    start: AwareDatetime
    end: AwareDatetime
    stamp: AwareDatetime
    summary: str
    description: str
    location: str


class NoticePayload(BaseModel):
    """A notice as the outbox keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: NoticeKind
    thread: str
    to: str
    name: str
    values: dict[str, bool | str | tuple[str, ...]]
    invite: InvitePayload | None = None


def read_notice(entry: OutboxEntry) -> NoticePayload:
    """The notice that `entry` holds.

    Raises:
        Refused: it holds none.
    """
    try:
        return NoticePayload.model_validate(dict(entry.payload))
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, item["loc"])) for item in error.errors()}))
        raise Refused(f"outbox {entry.key}: it is not a notice; wrong are {fields}") from None


def words_of(notice: NoticePayload) -> Text:
    """The notice in words."""
    return notice_text(notice.kind, notice.values)


def compose(entry: OutboxEntry, *, mail_from: EmailAddress) -> EmailMessage:
    """The e-mail that `entry` stands for.

    Raises:
        Refused: the entry is no notice, or its template cannot be filled.
    """
    notice = read_notice(entry)
    to = EmailAddress(notice.to)
    text = words_of(notice)
    domain = mail_from.partition("@")[2]
    message = EmailMessage(policy=POLICY)
    message["Message-ID"] = f"<{entry.key}@{domain}>"
    message["Date"] = format_datetime(_whole_seconds(entry.created_at))
    message["From"] = _mailbox(FROM_NAME, mail_from)
    message["To"] = _mailbox(one_line(notice.name, 60), to)
    message["Subject"] = text.subject
    # All messages of a request refer to one id, which no message has: they are siblings in every mail reader,
    # also for whoever became a contact later.
    message["In-Reply-To"] = message["References"] = f"<{notice.thread}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["X-Freshet-Key"] = entry.key
    message.set_content(text.body)
    if notice.invite is not None:
        _attach(message, notice.invite, organizer=mail_from, attendee=to)
    return message


def _attach(
    message: EmailMessage, payload: InvitePayload, *, organizer: EmailAddress, attendee: EmailAddress
) -> None:
    calendar = icalendar(Invite(**payload.model_dump()), organizer=organizer, attendee=attendee)
    method: Literal["CANCEL", "REQUEST"] = "CANCEL" if payload.cancelled else "REQUEST"
    # Once as an alternative, which calendars act on, and once as a file, for readers that show only those.
    message.add_alternative(calendar, subtype="calendar", params={"method": method})
    message.add_attachment(
        calendar.encode(), maintype="application", subtype="ics", filename=f"{payload.uid}.ics"
    )


def _mailbox(name: str, address: EmailAddress) -> Address:
    user, _, domain = address.partition("@")
    return Address(display_name=name, username=user, domain=domain)


def _whole_seconds(at: datetime) -> datetime:
    return at.replace(microsecond=0)
