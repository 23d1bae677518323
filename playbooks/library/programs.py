#!/usr/bin/python3
"""Ansible module: start and stop all programs of an application in one task, under supervisor or systemd."""

from __future__ import annotations

import configparser
import http.client
import json
import socket
import subprocess
import sys
import time
import xmlrpc.client
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DOCUMENTATION = r"""
module: programs
short_description: Declare, start or stop programs, and wait until they serve or are gone
description:
  - One task for all programs of a web application, since a task costs a quarter of a second.
  - C(declared) lets the process manager read new definitions, and starts nothing that was not to be started.
  - C(running) waits until each program of C(serving) answers; a program that ends meanwhile fails at once.
options:
  manager: {description: "C(supervisor) or C(systemd).", type: str, required: true}
  config: {description: "supervisord's configuration file.", type: path}
  state:
    description: "C(declared), C(running), C(restarted), C(stopped), C(removed), or C(told) to only look."
    type: str
    required: true
  names: {description: "The programs.", type: list, elements: str, required: true}
  serving:
    description: "For a program the address, port and path that answer with less than 500 once it serves."
    type: dict
    default: {}
  timeout_s: {description: "How long it may take in all.", type: float, default: 60}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Start
  programs:
    manager: supervisor
    config: /etc/supervisord.conf
    state: running
    names: [lakeside-live-production]
    serving: {lakeside-live-production: {address: 127.0.8.1, port: 8888, path: /v1/__lbheartbeat__}}
"""
RETURN = r"""
seconds: {description: "How long each program took.", type: dict, returned: when running}
"""


# WANT_JSON: Ansible hands the arguments over in a file.

POLL_S = 0.03
NOW = False
"""What supervisord is told so that it does not wait until the program is up or gone."""
WORDS = {"active": "RUNNING", "activating": "STARTING", "deactivating": "STOPPING", "failed": "FATAL"}
"""systemd's words for a program's state in supervisor's."""
ALIVE = frozenset({"RUNNING", "STARTING", "BACKOFF", "STOPPING"})


def arguments() -> dict[str, Any]:
    """What the task said; a module without Ansible's library starts in a fifth of the time."""
    return dict(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def leave(**result: object) -> None:
    """Tell Ansible the result and end."""
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(1 if result.get("failed") else 0)


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

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002 - the base class names it
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
                self.call("stopProcess", name, not NOW, allowed="NOT_RUNNING")
                self.call("removeProcessGroup", name)
                changed = True
            if not gone and (name in added or name in altered):
                self.call("addProcessGroup", name, allowed="ALREADY_ADDED")
                changed = True
        return changed

    def start(self, name: str) -> None:
        """Start `name` without waiting."""
        self.call("startProcess", name, NOW, allowed="ALREADY_STARTED")

    def stop(self, name: str) -> None:
        """Stop `name` without waiting."""
        self.call("stopProcess", name, NOW, allowed="NOT_RUNNING")

    def last_words(self, name: str) -> str:
        """The end of what `name` wrote."""
        text = str(self.call("readProcessStdoutLog", name, -3000, 0, allowed="NO_FILE") or "")
        return " / ".join(text.strip().splitlines()[-4:])


class Systemd:
    """Programs as systemd units called as they are."""

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
        return {name: WORDS.get(state, "STOPPED") for name, state in zip(self.names, told)}

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
            ["journalctl", "--unit", name, "--lines=4", "--output=cat"],
            capture_output=True,
            text=True,
            check=False,
        )
        return " / ".join(done.stdout.strip().splitlines())


def manager_of(kind: str, config: str | None, names: list[str]) -> Any:
    """The process manager `kind` for `names`."""
    return Supervisor(config or "") if kind == "supervisor" else Systemd(names)


def serves(where: dict[str, Any]) -> bool:
    """Whether the program answers at `where`."""
    connection = http.client.HTTPConnection(str(where["address"]), int(where["port"]), timeout=10)
    try:
        connection.request("GET", str(where.get("path", "/")))
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop_all(asked: dict[str, Any], manager: Any, names: list[str]) -> bool:
    """Stop `names` and wait until each is gone."""
    states = manager.states()
    here = [name for name in names if states.get(name) in ALIVE]
    if asked.get("_ansible_check_mode"):
        return bool(here)
    for name in here:
        if states[name] != "STOPPING":
            manager.stop(name)
    give_up = time.monotonic() + float(asked.get("timeout_s", 60))
    while here:
        states = manager.states()
        left = [name for name in here if states.get(name) in ALIVE]
        if not left:
            break
        if time.monotonic() > give_up:
            raise ManagerError(
                f"{', '.join(left)} did not stop within {float(asked.get('timeout_s', 60)):.0f} s"
            )
        time.sleep(POLL_S)
    return bool(here)


def start_all(asked: dict[str, Any], manager: Any, names: list[str]) -> tuple[bool, dict[str, float]]:
    """Start `names` at once and wait until each serves."""
    states = manager.states()
    unknown = [name for name in names if name not in states]
    if unknown and not asked.get("_ansible_check_mode"):
        raise ManagerError(f"{', '.join(unknown)} is not declared: run the stage install first")
    asleep = [name for name in names if states.get(name) not in {"RUNNING", "STARTING"}]
    if asked.get("_ansible_check_mode"):
        return bool(asleep), {}
    begun = time.monotonic()
    for name in asleep:
        if states.get(name) == "BACKOFF":
            manager.stop(name)
        manager.start(name)
    waiting = [name for name in names if name in asked.get("serving", {})]
    ready: dict[str, float] = {}
    while waiting:
        states = manager.states()
        for name in list(waiting):
            if states.get(name) in {"FATAL", "EXITED", "STOPPED", "BACKOFF"}:
                raise ManagerError(f"{name} ended while starting; its last words: {manager.last_words(name)}")
            if serves(asked.get("serving", {})[name]):
                waiting.remove(name)
                ready[name] = round(time.monotonic() - begun, 3)
        if waiting and time.monotonic() - begun > float(asked.get("timeout_s", 60)):
            words = manager.last_words(waiting[0])
            limit = float(asked.get("timeout_s", 60))
            raise ManagerError(
                f"{', '.join(waiting)} did not serve within {limit:.0f} s; last words: {words}"
            )
        time.sleep(POLL_S)
    return bool(asleep), ready


def main() -> None:
    """Bring the programs into the wanted state."""
    asked = arguments()
    names = list(asked["names"])
    state = asked["state"]
    seconds: dict[str, float] = {}
    changed = False
    try:
        manager = manager_of(asked["manager"], asked.get("config"), names)
        if state == "told":
            known = manager.states()
            leave(
                changed=False, freshet_facts={"programs": {name: known.get(name, "ABSENT") for name in names}}
            )
        if state in {"declared", "removed"}:
            changed = manager.declare(
                names, dry=bool(asked.get("_ansible_check_mode")), gone=state == "removed"
            )
        if state in {"stopped", "restarted"}:
            changed = stop_all(asked, manager, names)
        if state in {"running", "restarted"}:
            started, seconds = start_all(asked, manager, names)
            changed = changed or started
    except ManagerError as error:
        leave(failed=True, msg=str(error))
    leave(changed=changed, seconds=seconds, freshet_facts={"start_seconds": seconds} if seconds else {})


if __name__ == "__main__":
    main()
