"""The mail catcher as a service of the stack.

Invariant: nothing that Freshet mails from the embedded stack leaves this machine.
"""

from __future__ import annotations

import smtplib
import sys
from collections.abc import Mapping

from infra.stack.daemon import Daemon
from infra.stack.layout import PROJECT, Layout
from infra.stack.ports import Ports
from infra.stack.program_service import ProgramService
from infra.stack.settings_file import environment


class MailService(ProgramService):
    """The catcher; what it caught lies in the state directory under `mail/`."""

    name = "mail"
    what = "mail catcher (read it with `freshet mail`)"
    after: tuple[str, ...] = ()

    def __init__(self, *, layout: Layout, ports: Ports, settings: Mapping[str, str]) -> None:
        self.ports: tuple[int, ...] = (ports.smtp,)
        self._port = ports.smtp
        self.daemon = Daemon(
            command=[sys.executable, "-m", "infra.stack.mail_catcher", str(ports.smtp), str(layout.mail)],
            state=layout.state,
            log=layout.logs / f"{self.name}.log",
            environment=environment(settings),
            directory=PROJECT,
        )

    def ailment(self) -> str | None:
        """What keeps it from taking mail."""
        try:
            with smtplib.SMTP("127.0.0.1", self._port, timeout=5) as connection:
                code, _ = connection.noop()
        except (OSError, smtplib.SMTPException) as error:
            return f"127.0.0.1:{self._port} takes no mail ({type(error).__name__})"
        return None if code == 250 else f"127.0.0.1:{self._port} answers {code}"  # noqa: PLR2004 - SMTP's word for well
