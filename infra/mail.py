"""Ways in which a composed e-mail leaves: an SMTP server, or Amazon SES, behind one interface.

Invariant: `send` returns only when the server took the message over. It raises `Unavailable` when trying
again may help, `Refused` when this message will never be taken; it always ends.
"""

from __future__ import annotations

import logging
import smtplib
import socket
import ssl
from email.message import EmailMessage
from typing import Any, Literal, Protocol

from pydantic import SecretStr

from infra.aws_client import calling, client
from infra.redaction import redact
from infra.settings import Settings
from infra.socket_deadline import cut_off_after
from policy.errors import Refused, Unavailable
from policy.names import EmailAddress

log = logging.getLogger("freshet.mail")

DEADLINE_S = 20
TIMEOUT_S = 10
READY = 220
PERMANENT = range(500, 600)
RIGHTS = frozenset({530, 535})
Security = Literal["none", "starttls", "tls"]


class MailTransport(Protocol):
    """Sends one message to its one recipient."""

    def send(self, message: EmailMessage) -> None:
        """Hand `message` over.

        Raises:
            Unavailable: try again later.
            Refused: it will never be taken.
        """
        ...


class SmtpTransport:
    """An SMTP server.

    Args:
        host: its name.
        port: its port.
        sender: the envelope's sender, to whom bounces go.
        security: `tls` from the first byte, `starttls`, or `none` for a server on this machine or in a
            trusted network.
        user: the mail user, or None to send without signing in.
        password: of that user.
        context: checks the server's certificate; by default against the machine's trusted ones.
        timeout_s: longest silence of the server.
        deadline_s: longest conversation.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        sender: EmailAddress,
        security: Security = "none",
        user: str | None = None,
        password: SecretStr | None = None,
        context: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        if user is not None and security == "none" and not _on_this_machine(host):
            raise Refused("smtp_security: a password is not sent in the clear; choose starttls or tls")
        self._where = f"mail server {host}:{port}"
        self._host, self._port, self._security = host, port, security
        self._sender = sender
        self._user, self._password = user, password
        self._context = context or ssl.create_default_context()
        self._timeout_s, self._deadline_s = timeout_s, deadline_s

    def send(self, message: EmailMessage) -> None:
        """Hand `message` over; see `MailTransport.send`."""
        # The greeting names our domain: looking the machine's own name up may hang where DNS does.
        smtp = smtplib.SMTP(local_hostname=self._sender.partition("@")[2], timeout=self._timeout_s)
        with cut_off_after(self._deadline_s, lambda: smtp.sock):
            try:
                self._converse(smtp, message)
            except smtplib.SMTPRecipientsRefused as error:
                raise self._answered("the recipient", *next(iter(error.recipients.values()))) from None
            except smtplib.SMTPDataError as error:
                raise self._answered("the message", error.smtp_code, error.smtp_error) from None
            except smtplib.SMTPResponseException as error:
                # The server speaks of us or of itself, not of this message: mending that sends it after all.
                said = _shown(error.smtp_error)
                raise Unavailable(
                    f"{self._where}: answered {error.smtp_code} {said} before the message was offered; "
                    "check the mail settings"
                ) from None
            except (smtplib.SMTPException, OSError) as error:
                raise Unavailable(
                    f"{self._where}: the conversation failed ({type(error).__name__}); it is tried again"
                ) from error
            finally:
                smtp.close()

    def _converse(self, smtp: smtplib.SMTP, message: EmailMessage) -> None:
        # Connected here and not by smtplib, so that the deadline reaches the socket during the handshake too.
        smtp.sock = socket.create_connection((self._host, self._port), self._timeout_s)
        if self._security == "tls":
            smtp.sock = self._context.wrap_socket(smtp.sock, server_hostname=self._host)
        code, said = smtp.getreply()
        if code != READY:
            raise smtplib.SMTPConnectError(code, said)
        smtp.ehlo_or_helo_if_needed()
        if self._security == "starttls":
            self._start_tls(smtp)
        if self._user is not None and self._password is not None:
            smtp.login(self._user, self._password.get_secret_value())
        smtp.sendmail(self._sender, [recipient_of(message)], message.as_bytes())
        try:
            smtp.quit()
        except (smtplib.SMTPException, OSError) as error:
            # The message is taken over; a bad farewell must not send it twice.
            log.info("%s: no farewell (%s)", self._where, type(error).__name__)

    def _start_tls(self, smtp: smtplib.SMTP) -> None:
        code, said = smtp.docmd("STARTTLS")
        if code != READY:
            raise smtplib.SMTPConnectError(code, said)
        smtp.sock = self._context.wrap_socket(_open(smtp), server_hostname=self._host)
        # What was said in the clear may have been said by somebody else: it counts for nothing.
        smtp.file = None
        smtp.helo_resp = smtp.ehlo_resp = None
        smtp.esmtp_features = {}
        smtp.does_esmtp = False
        smtp.ehlo_or_helo_if_needed()

    def _answered(self, about: str, code: int, said: bytes | str) -> Refused | Unavailable:
        text = f"{self._where}: refused {about} with {code} {_shown(said)}"
        # 5.7.x is about rights: relaying, signing in, reputation. Those get mended, and the message goes.
        if code in PERMANENT and code not in RIGHTS and " 5.7." not in f" {_shown(said)}":
            return Refused(f"{text}; correct the address or the message")
        return Unavailable(f"{text}; it is tried again")


class SesTransport:
    """Amazon SES.

    It replaces the Message-ID by one of its own, so that receivers recognise a repetition by `X-Freshet-Key`;
    the thread's references stay.
    """

    def __init__(self, settings: Settings) -> None:
        self._sender = settings.mail_from
        self._ses: Any = client("sesv2", settings, attempts=2)

    def send(self, message: EmailMessage) -> None:
        """Hand `message` over; see `MailTransport.send`."""
        # Only a malformed message is refused for good: an identity that is not verified or an account that is
        # paused gets mended, and the message goes after all.
        with calling("mail service SES", refusals=("BadRequestException",)):
            self._ses.send_email(
                FromEmailAddress=str(self._sender),
                Destination={"ToAddresses": [recipient_of(message)]},
                Content={"Raw": {"Data": message.as_bytes()}},
            )


def recipient_of(message: EmailMessage) -> str:
    """The one address that `message` goes to."""
    (address,) = message["To"].addresses
    return f"{address.username}@{address.domain}"


def _open(smtp: smtplib.SMTP) -> socket.socket:
    if smtp.sock is None:
        raise smtplib.SMTPServerDisconnected("closed before the handshake")
    return smtp.sock


def _on_this_machine(host: str) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"}


def _shown(said: bytes | str) -> str:
    text = said.decode("ascii", "replace") if isinstance(said, bytes) else said
    return redact("".join(c if c.isascii() and c.isprintable() else " " for c in text)[:120]).strip()
