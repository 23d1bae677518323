"""Delivers one entry of the outbox by the channel that it names.

Invariant: `deliver` returns when the server took the entry over, and always ends within a minute; it changes
nothing in the ledger. A repetition carries the same id, so that receivers can drop it.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.ledger.outbox import OutboxEntry
from infra.mail import MailTransport, SesTransport, SmtpTransport
from infra.notice_mail import compose, read_notice, words_of
from infra.secrets import SecretFiles
from infra.settings import Settings
from infra.status_events import StatusTopic
from infra.webhook import OnCallChannel
from policy.errors import Refused
from policy.names import EmailAddress


@dataclass(frozen=True, kw_only=True)
class Transports:
    """The ways out of this process, made once and used for every entry.

    Attributes:
        on_call: None when the hosting team has no channel.
    """

    mail: MailTransport
    mail_from: EmailAddress
    status: StatusTopic
    on_call: OnCallChannel | None


def open_transports(settings: Settings, secrets: SecretFiles) -> Transports:
    """The transports that the settings describe; nothing is connected yet.

    Raises:
        Refused: a setting is wrong.
        Unavailable: a secret cannot be read.
    """
    return Transports(
        mail=SesTransport(settings) if settings.mail_through == "ses" else _smtp(settings, secrets),
        mail_from=settings.mail_from,
        status=StatusTopic(settings),
        on_call=None
        if settings.on_call_webhook is None
        else OnCallChannel(secrets.read(settings.on_call_webhook)),
    )


def deliver(entry: OutboxEntry, transports: Transports) -> None:
    """Hand `entry` over to its server.

    Raises:
        Unavailable: try again later.
        Refused: it will never be taken; a person has to look.
    """
    match entry.channel:
        case "mail":
            transports.mail.send(compose(entry, mail_from=transports.mail_from))
        case "status":
            transports.status.publish(entry.key, entry.payload)
        case "webhook":
            if transports.on_call is None:
                raise Refused(f"outbox {entry.key}: there is no on-call channel; set FRESHET_ON_CALL_WEBHOOK")
            text = words_of(read_notice(entry))
            transports.on_call.post(entry.key, {"text": f"{text.subject}\n\n{text.body}"})
        case other:
            raise Refused(f"outbox {entry.key}: there is no channel '{other}'; it is mail, status or webhook")


def _smtp(settings: Settings, secrets: SecretFiles) -> SmtpTransport:
    host, colon, port = settings.smtp.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise Refused("smtp: write the mail server as host:port")
    if settings.smtp_user is not None and settings.smtp_secret is None:
        raise Refused("smtp_secret: name the secret that holds the mail user's password")
    return SmtpTransport(
        host=host.strip("[]"),
        port=int(port),
        sender=settings.mail_from,
        security=settings.smtp_security,
        user=settings.smtp_user,
        password=None if settings.smtp_secret is None else secrets.read(settings.smtp_secret),
    )
