"""Servers for the tests of deliveries: a mail server that remembers, and ones that misbehave when told to."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

Script = Callable[[socket.socket], None]


class Inbox:
    """An SMTP server's memory, and the answers that a test makes it give."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.senders: list[str | None] = []
        self.rcpt_answers: list[str] = []
        self.data_answers: list[str] = []
        self.drops = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it so
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """Take a recipient, or answer as told."""
        if self.rcpt_answers:
            return self.rcpt_answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(  # noqa: N802 - aiosmtpd calls it so
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep a message, or answer as told, or keep it and break the connection."""
        if self.data_answers:
            return self.data_answers.pop(0)
        assert isinstance(envelope.content, bytes)
        self.messages.append(message_from_bytes(envelope.content, policy=default))
        self.senders.append(envelope.mail_from)
        if self.drops:
            self.drops -= 1
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return "250 kept"


class SelfSignedController(Controller):
    """Greets itself when it starts, as every controller does, but trusts its own certificate."""

    def _trigger_server(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 5) as plain:
            if self.ssl_context is None:
                plain.recv(1024)
                return
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(plain) as wrapped:
                wrapped.recv(1024)


@contextmanager
def serving(controller: Controller) -> Iterator[Controller]:
    """Run a mail server for the block."""
    controller.start()
    try:
        yield controller
    finally:
        controller.stop()


@contextmanager
def scripted(script: Script) -> Iterator[int]:
    """The port of a server that treats one connection as `script` says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    script(connection)
            except OSError:
                # The client, or the end of the test, hung up: that is what the tests are about.
                return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.close()
            thread.join(10)
            assert not thread.is_alive()


def dialogue(*answers: bytes) -> Script:
    """Says the first answer at once, each other after a line of the client, and then hangs up."""

    def script(connection: socket.socket) -> None:
        with connection.makefile("rb") as reader:
            for number, answer in enumerate(answers):
                if number:
                    reader.readline()
                connection.sendall(answer)

    return script


def silent(connection: socket.socket) -> None:
    """Never says anything; ends when the client hangs up."""
    while connection.recv(4096):
        pass


def dripping(connection: socket.socket) -> None:
    """Says one byte at a time and never a whole line."""
    while True:
        connection.sendall(b"x")
        time.sleep(0.1)
