"""Real conversations with mail servers, the unwell ones included."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from infra.delivery import Transports, deliver
from infra.ledger.outbox import OutboxEntry
from infra.mail import Security, SmtpTransport
from infra.settings import Settings
from infra.status_events import StatusTopic
from policy.errors import Refused, Unavailable
from policy.lifecycle import Event
from policy.names import EmailAddress
from policy.notices import Change, notices_for
from policy.request import Status
from tests.integration.unwell_servers import (
    Inbox,
    Script,
    SelfSignedController,
    dialogue,
    dripping,
    scripted,
    serving,
    silent,
)
from tests.ports import free_port
from tests.unit.notice_estate import NOW, estate, request

FROM = EmailAddress("updates@hosting.example.org")


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def smtp(inbox: Inbox) -> Iterator[SmtpTransport]:
    with serving(Controller(inbox, hostname="127.0.0.1", port=free_port())) as server:
        yield SmtpTransport(host="127.0.0.1", port=server.port, sender=FROM, timeout_s=2, deadline_s=4)


def mail_entry(number: int = 7) -> OutboxEntry:
    before = request(status=Status.TO_BE_SCHEDULED, scheduled_for=None)
    change = Change(event=Event.SCHEDULE, number=number, at=NOW, before=before, after=request())
    (notice,) = notices_for(change, estate=estate())
    return OutboxEntry(
        id=number, channel="mail", key=notice.key, payload=notice.payload(), attempts=1, created_at=NOW
    )


def ways(smtp: SmtpTransport) -> Transports:
    nowhere = Settings(aws_endpoint="http://127.0.0.1:9")
    return Transports(mail=smtp, mail_from=FROM, status=StatusTopic(nowhere), on_call=None)


def test_a_notice_arrives_whole(smtp: SmtpTransport, inbox: Inbox) -> None:
    deliver(mail_entry(), ways(smtp))
    (message,) = inbox.messages
    assert inbox.senders == [FROM]
    assert message["To"] == "Ann <ann@lakeside.example.org>"
    body = message.get_body(("plain",))
    assert body is not None
    assert "Sunday 22 November 2026, 02:00 CST (America/Chicago)" in body.get_content()
    calendar = next(part for part in message.walk() if part.get_content_type() == "text/calendar")
    assert "DTSTART:20261122T080000Z" in calendar.get_content()


@pytest.mark.parametrize("stage", ["rcpt", "data"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("450 4.2.0 greylisted, come back", Unavailable),
        ("421 4.3.2 shutting down", Unavailable),
        ("452 4.3.1 disk full", Unavailable),
        ("550 5.1.1 no such user", Refused),
        ("552 5.2.2 mailbox full", Refused),
        ("554 5.7.1 relay access denied", Unavailable),
        ("530 5.7.0 sign in first", Unavailable),
    ],
)
def test_what_a_server_answers_says_whether_to_try_again(
    smtp: SmtpTransport, inbox: Inbox, stage: str, answer: str, error: type[Exception]
) -> None:
    (inbox.rcpt_answers if stage == "rcpt" else inbox.data_answers).append(answer)
    with pytest.raises(error, match=answer[:3]) as caught:
        deliver(mail_entry(), ways(smtp))
    assert "ann@" not in str(caught.value)
    assert inbox.messages == []
    deliver(mail_entry(), ways(smtp))
    assert len(inbox.messages) == 1


def test_a_connection_lost_after_the_data_is_sent_again_with_the_same_id(
    smtp: SmtpTransport, inbox: Inbox
) -> None:
    """The server kept the message and could not say so: the second copy is recognisable as one."""
    inbox.drops = 1
    with pytest.raises(Unavailable, match="SMTPServerDisconnected"):
        deliver(mail_entry(), ways(smtp))
    deliver(mail_entry(), ways(smtp))
    first, second = inbox.messages
    assert first["Message-ID"] == second["Message-ID"]
    assert first["X-Freshet-Key"] == second["X-Freshet-Key"]


def test_nobody_listening_is_unavailable() -> None:
    smtp = SmtpTransport(host="127.0.0.1", port=free_port(), sender=FROM)
    with pytest.raises(Unavailable, match="ConnectionRefusedError"):
        deliver(mail_entry(), ways(smtp))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (silent, "TimeoutError|SMTPServerDisconnected"),
        (dripping, "SMTPServerDisconnected|answered -1"),
        (dialogue(b""), "SMTPServerDisconnected"),
        (dialogue(b"554 no service here\r\n"), "answered 554 no service here"),
        (dialogue(b"220 hi\r\n", b"421 busy\r\n"), "SMTPServerDisconnected|answered 421"),
        (
            dialogue(b"220 hi\r\n", b"250 ok\r\n", b"550 5.1.8 bad sender\r\n"),
            "answered 550 5.1.8 bad sender",
        ),
        (dialogue(b"220 hi\r\n", b"250 ok\r\n", b"250 ok\r\n"), "SMTPServerDisconnected"),
        (dialogue(b"\xff\xfe\x00 garbage\r\n"), "before the message was offered|failed"),
    ],
    ids=["silent", "dripping", "closing", "not here", "busy", "sender refused", "closing late", "garbage"],
)
def test_a_server_that_is_unwell_is_given_up_in_time(script: Script, reason: str) -> None:
    with scripted(script) as port:
        smtp = SmtpTransport(host="127.0.0.1", port=port, sender=FROM, timeout_s=0.5, deadline_s=1)
        started = time.monotonic()
        with pytest.raises(Unavailable, match=reason):
            deliver(mail_entry(), ways(smtp))
        assert time.monotonic() - started < 10


def test_a_bad_farewell_does_not_send_the_mail_twice(inbox: Inbox) -> None:
    class Rude(SMTP):
        async def smtp_QUIT(self, _arg: str) -> None:  # noqa: N802 - aiosmtpd calls it so
            await self.push("500 no")

    class RudeController(Controller):
        def factory(self) -> SMTP:
            return Rude(self.handler)

    with serving(RudeController(inbox, hostname="127.0.0.1", port=free_port())) as server:
        deliver(mail_entry(), ways(SmtpTransport(host="127.0.0.1", port=server.port, sender=FROM)))
    assert len(inbox.messages) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_signing_in_over_tls(inbox: Inbox, certificate: Path, security: Security) -> None:
    offered: list[tuple[bytes, bytes]] = []

    def authenticate(
        _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        offered.append((data.login, data.password))
        return AuthResult(success=data.password == b"mail-t0ken", handled=False)

    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    in_tls = security == "tls"
    controller = SelfSignedController(
        inbox,
        hostname="127.0.0.1",
        port=free_port(),
        ssl_context=served if in_tls else None,
        authenticator=authenticate,
        auth_required=not in_tls,
        auth_require_tls=not in_tls,
        require_starttls=not in_tls,
        tls_context=None if in_tls else served,
    )

    def transport(password: str, context: ssl.SSLContext | None) -> SmtpTransport:
        return SmtpTransport(
            host="127.0.0.1",
            port=controller.port,
            sender=FROM,
            security=security,
            user="freshet",
            password=SecretStr(password),
            context=context,
            timeout_s=3,
        )

    with serving(controller):
        deliver(mail_entry(), ways(transport("mail-t0ken", trusting)))
        with pytest.raises(Unavailable, match="535") as caught:
            deliver(mail_entry(), ways(transport("wrong-t0ken", trusting)))
        with pytest.raises(Unavailable, match="SSLCertVerificationError"):
            deliver(mail_entry(), ways(transport("mail-t0ken", None)))
    assert offered[0] == (b"freshet", b"mail-t0ken")
    assert all(password != b"mail-t0ken" for _, password in offered[1:])
    assert "t0ken" not in str(caught.value)
    assert len(inbox.messages) == 1


def test_a_server_without_starttls_gets_no_password(inbox: Inbox) -> None:
    with serving(Controller(inbox, hostname="127.0.0.1", port=free_port())) as server:
        smtp = SmtpTransport(
            host="127.0.0.1",
            port=server.port,
            sender=FROM,
            security="starttls",
            user="freshet",
            password=SecretStr("mail-t0ken"),
        )
        with pytest.raises(Unavailable, match="before the message was offered"):
            deliver(mail_entry(), ways(smtp))
    assert inbox.messages == []


def test_a_password_in_the_clear_is_refused_when_set_up() -> None:
    with pytest.raises(Refused, match="smtp_security"):
        SmtpTransport(
            host="mail.example.org", port=25, sender=FROM, user="freshet", password=SecretStr("mail-t0ken")
        )
