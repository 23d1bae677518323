"""Reading what the mail catcher caught.

Invariant: reading changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy as email_policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CaughtMail:
    """One caught message.

    Attributes:
        number: counted from 1, oldest first.
        received: when it was caught, aware UTC.
        recipients: the envelope's, so blind copies show too.
        attachments: their file names.
    """

    number: int
    received: datetime
    sender: str
    recipients: tuple[str, ...]
    subject: str
    message_id: str
    text: str
    attachments: tuple[str, ...]
    path: Path


def caught(folder: Path) -> list[CaughtMail]:
    """Every message in `folder`, oldest first."""
    return [_read(number, path) for number, path in enumerate(sorted(folder.glob("[!.]*.eml")), start=1)]


def _read(number: int, path: Path) -> CaughtMail:
    with path.open("rb") as file:
        message = BytesParser(EmailMessage, policy=email_policy.default).parse(file)
    body = message.get_body(preferencelist=("plain", "html"))
    to = str(message["X-Envelope-To"] or "")
    return CaughtMail(
        number=number,
        received=datetime.strptime(path.name.partition("-")[0], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC),
        sender=str(message["From"] or message["X-Envelope-From"] or ""),
        recipients=tuple(address.strip() for address in to.split(",") if address.strip()),
        subject=str(message["Subject"] or ""),
        message_id=str(message["Message-ID"] or ""),
        text="" if body is None else str(body.get_content()),
        attachments=tuple(part.get_filename() or "unnamed" for part in message.iter_attachments()),
        path=path,
    )
