"""supervisord keeps the web applications running; their roles drop program files into `conf.d`.

Invariant: its control port is guarded by a password kept in the configuration file (mode 600), because
whoever may speak to it may run programs as this user.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from xmlrpc.client import Error, ServerProxy  # trusted: our own supervisord, on loopback

from infra.secrets import SecretFiles
from infra.stack import keyring
from infra.stack.daemon import Daemon
from infra.stack.layout import Layout
from infra.stack.ports import Ports
from infra.stack.program_service import ProgramService
from infra.stack.settings_file import environment

_CONFIG = """\
; Rewritten by `freshet up`. Web applications: conf.d/*.conf
[supervisord]
nodaemon = true
silent = true
logfile = {logs}/supervisord.events.log
logfile_maxbytes = 10MB
logfile_backups = 1
pidfile = {state}/supervisor/supervisord.pid
childlogdir = {logs}
strip_ansi = true
{user}minfds = 256

[inet_http_server]
port = 127.0.0.1:{port}
username = freshet
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = http://127.0.0.1:{port}
username = freshet
password = {password}

[include]
files = conf.d/*.conf
"""


class SupervisorService(ProgramService):
    """The process that keeps web applications running."""

    grace_s = 15.0
    name = "supervisor"
    what = "process supervision for web applications"
    after: tuple[str, ...] = ("live", "trial")

    def __init__(
        self, *, layout: Layout, ports: Ports, settings: Mapping[str, str], secrets: SecretFiles
    ) -> None:
        self.ports: tuple[int, ...] = (ports.supervisor,)
        self._port = ports.supervisor
        self._layout = layout
        self._secrets = secrets
        self.daemon = Daemon(
            command=[
                sys.executable, "-m", "supervisor.supervisord",
                "--nodaemon", "--configuration", str(layout.supervisor_config),
            ],
            state=layout.state,
            log=layout.logs / f"{self.name}.log",
            environment=environment(settings),
            directory=layout.supervisor,
        )  # fmt: skip

    def start(self, stopping: threading.Event) -> None:
        """Write its configuration, start it, and wait until it can be spoken to."""
        if not self.running():
            self._configure()
        super().start(stopping)

    def ailment(self) -> str | None:
        """What keeps it from being spoken to."""
        password = self._secrets.read(keyring.SUPERVISOR).get_secret_value()
        proxy = ServerProxy(f"http://freshet:{password}@127.0.0.1:{self._port}/RPC2")
        try:
            with proxy:
                state = proxy.supervisor.getState()
        except (OSError, Error) as error:
            return f"supervisord on port {self._port} does not answer ({type(error).__name__})"
        if isinstance(state, dict) and state.get("statename") == "RUNNING":
            return None
        return f"supervisord on port {self._port} is not running normally"

    def _configure(self) -> None:
        path = self._layout.supervisor_config
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(
                _CONFIG.format(
                    # supervisord reads a single % as the start of a substitution.
                    logs=str(self._layout.logs).replace("%", "%%"),
                    state=str(self._layout.state).replace("%", "%%"),
                    port=self._port,
                    # Said aloud, or supervisord complains about being root at every start.
                    user="user = root\n" if os.geteuid() == 0 else "",
                    password=self._secrets.read(keyring.SUPERVISOR).get_secret_value(),
                )
            )
        aside.replace(path)
