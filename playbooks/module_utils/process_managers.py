"""The process managers that an application's programs may run under: supervisor and systemd.

Both speak supervisor's words for a program's state, so that the modules above them need not know which it is.
"""

from __future__ import annotations

import configparser
import http.client
import socket
import subprocess
import xmlrpc.client
from base64 import b64encode
from typing import Any
from urllib.parse import urlsplit

ALIVE = frozenset({"RUNNING", "STARTING", "BACKOFF", "STOPPING"})


class ManagerError(Exception):
    """The process manager cannot be reached or refuses; the message is for a person."""


class _Connection(http.client.HTTPConnection):
    """HTTP to supervisord, over its unix socket or over TCP."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        super().__init__(parts.hostname or "localhost", parts.port or 80, timeout=30)
        self.path = parts.path if parts.scheme == "unix" else ""

    def connect(self) -> None:
        if not self.path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, url: str, user: str, password: str) -> None:
        super().__init__()
        self.url = url
        self.sign = b64encode(f"{user}:{password}".encode()).decode() if user else ""

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002
        return _Connection(self.url)

    def send_headers(self, connection: Any, headers: Any) -> None:
        super().send_headers(connection, headers)
        if self.sign:
            connection.putheader("Authorization", f"Basic {self.sign}")


class Supervisor:
    """Programs under supervisord."""

    def __init__(self, config: str) -> None:
        parsed = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
        if not parsed.read(config):
            raise ManagerError(f"supervisord's configuration {config} is not there")
        control = parsed["supervisorctl"] if parsed.has_section("supervisorctl") else {}
        here = config.rpartition("/")[0]
        url = control.get("serverurl", "http://localhost:9001").replace("%(here)s", here)
        transport = _Transport(url, control.get("username", ""), control.get("password", ""))
        self.url = url
        self.remote: Any = xmlrpc.client.ServerProxy("http://supervisor/RPC2", transport=transport).supervisor

    def call(self, method: str, *arguments: object, allowed: str = "") -> Any:
        """Call supervisord; the fault named `allowed` counts as done."""
        try:
            return getattr(self.remote, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if allowed and fault.faultString.startswith(allowed):
                return None
            raise ManagerError(f"supervisord: {method} {arguments}: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise ManagerError(f"supervisord at {self.url} does not answer: {error}") from error

    def states(self) -> dict[str, str]:
        """What supervisord says of every program."""
        return {str(found["name"]): str(found["statename"]) for found in self.call("getAllProcessInfo")}

    def declare(self, names: list[str], *, dry: bool, gone: bool) -> bool:
        """Take over new, changed and removed definitions of `names` only."""
        if dry:
            return False
        added, altered, removed = self.call("reloadConfig")[0]
        known = set(self.states())
        changed = False
        for name in names:
            if name in known and (name in removed or name in altered or gone):
                self.call("stopProcess", name, True, allowed="NOT_RUNNING")
                self.call("removeProcessGroup", name)
                changed = True
            if not gone and (name in added or name in altered):
                self.call("addProcessGroup", name, allowed="ALREADY_ADDED")
                changed = True
        return changed

    def start(self, name: str) -> None:
        """Start `name` without waiting."""
        self.call("startProcess", name, False, allowed="ALREADY_STARTED")

    def stop(self, name: str) -> None:
        """Stop `name` without waiting."""
        self.call("stopProcess", name, False, allowed="NOT_RUNNING")

    def last_words(self, name: str) -> str:
        """The end of what `name` wrote."""
        text = str(self.call("readProcessStdoutLog", name, -3000, 0, allowed="NO_FILE") or "")
        return " / ".join(text.strip().splitlines()[-4:])


class Systemd:
    """Programs as systemd units called as they are."""

    words = {"active": "RUNNING", "activating": "STARTING", "deactivating": "STOPPING", "failed": "FATAL"}

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def ask(self, *arguments: str) -> str:
        """Run systemctl."""
        done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ManagerError(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def states(self) -> dict[str, str]:
        """What systemd says of the programs, in supervisor's words."""
        told = self.ask("show", "--property=ActiveState", "--value", *self.names).split()
        return {name: self.words.get(state, "STOPPED") for name, state in zip(self.names, told)}

    def declare(self, names: list[str], *, dry: bool, gone: bool) -> bool:
        """Let systemd read the units."""
        if not dry:
            self.ask("daemon-reload")
            self.ask("disable" if gone else "enable", *(["--now"] if gone else []), *names)
        return False

    def start(self, name: str) -> None:
        """Start `name` without waiting."""
        self.ask("start", "--no-block", name)

    def stop(self, name: str) -> None:
        """Stop `name` without waiting."""
        self.ask("stop", "--no-block", name)

    def last_words(self, name: str) -> str:
        """The end of what `name` wrote."""
        done = subprocess.run(
            ["journalctl", "--unit", name, "--lines=4", "--output=cat"], capture_output=True, text=True, check=False
        )
        return " / ".join(done.stdout.strip().splitlines())


def manager_of(kind: str, config: str | None, names: list[str]) -> Any:
    """The process manager `kind` for `names`."""
    return Supervisor(config or "") if kind == "supervisor" else Systemd(names)
