"""A mail server that delivers to a folder: every message becomes one `.eml` file, named by its arrival.

Invariant: a file that exists under its final name is complete; the folder never holds more than `KEPT`.
Run as a program: `python -m infra.stack.mail_catcher PORT FOLDER`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from datetime import UTC, datetime
from email.header import Header
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

KEPT = 10_000
SIZE_LIMIT = 10 * 1024 * 1024


class Catcher:
    """Writes what it is given into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 - aiosmtpd's signature
        """Keep one message; called by aiosmtpd by this name."""
        content = envelope.content
        if not isinstance(content, bytes):
            return "554 no content"
        recipients = ", ".join(str(Header(address)) for address in envelope.rcpt_tos)
        sender = str(Header(envelope.mail_from or ""))
        head = f"X-Envelope-From: {sender}\r\nX-Envelope-To: {recipients}\r\n".encode()
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{next(self._numbers):06d}.eml"
        await asyncio.to_thread(self._keep, name, head + content)
        return "250 caught"

    def _keep(self, name: str, message: bytes) -> None:
        aside = self._folder / f".{name}"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(message)
        aside.rename(self._folder / name)
        for old in sorted(self._folder.glob("*.eml"))[:-KEPT]:
            old.unlink(missing_ok=True)


async def serve(port: int, folder: Path) -> None:
    """Catch mail on 127.0.0.1 until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, ended.set)
    catcher = Catcher(folder)
    server = await loop.create_server(
        lambda: SMTP(
            catcher, data_size_limit=SIZE_LIMIT, enable_SMTPUTF8=True, hostname="localhost", loop=loop
        ),
        "127.0.0.1",
        port,
    )
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
