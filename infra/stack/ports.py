"""The TCP ports of the stack on 127.0.0.1: where they come from, and who holds one that is taken.

Invariant: nothing starts while a port that a service needs belongs to another program.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

from policy.errors import Refused

DEFAULT_BASE = 15430
FURTHER_BASE = 16430
"""What is offered when the usual ports are taken."""

SITES = 8
"""How many ports from `Ports.sites` on are kept for web applications."""
_OFFSETS: Mapping[str, int] = {
    "control": 0,
    "live": 1,
    "trial": 2,
    "aws": 10,
    "supervisor": 11,
    "prefect": 12,
    "smtp": 13,
    "sites": 20,
}


@dataclass(frozen=True, kw_only=True)
class Ports:
    """One port a service; web applications of the demo estate count up from `sites`."""

    control: int
    live: int
    trial: int
    aws: int
    supervisor: int
    prefect: int
    smtp: int
    sites: int

    @classmethod
    def of(cls, base: int, environment: Mapping[str, str]) -> Ports:
        """Ports counted from `base`, each replaced by `FRESHET_PORT_<NAME>` where that is set.

        Raises:
            Refused: one is no port, or two services were given the same one.
        """
        findings: list[str] = []
        chosen: dict[str, int] = {}
        for name, offset in _OFFSETS.items():
            variable = f"FRESHET_PORT_{name.upper()}"
            text = environment.get(variable, str(base + offset))
            if text.isdecimal() and 1024 <= int(text) <= 65535 - SITES:  # noqa: PLR2004 - what a port may be
                chosen[name] = int(text)
            else:
                what = variable if variable in environment else "--port-base"
                findings.append(
                    f"{what}: {name} would get a port outside 1024-{65535 - SITES}; choose another"
                )
        taken = [port for name, port in chosen.items() if name != "sites"]
        if "sites" in chosen:
            taken.extend(range(chosen["sites"], chosen["sites"] + SITES))
        twice = sorted({port for port in taken if taken.count(port) > 1})
        findings.extend(f"port {port} was given to two services; change one FRESHET_PORT_*" for port in twice)
        if findings:
            raise Refused(*findings)
        return cls(**chosen)

    @classmethod
    def asked(cls, base: int | None) -> Ports:
        """The ports that the command line (`base`) and the environment ask for, else the usual ones.

        Raises:
            Refused: they are none.
        """
        text = os.environ.get("FRESHET_PORT_BASE", str(DEFAULT_BASE)) if base is None else str(base)
        if not text.isdecimal():
            raise Refused("FRESHET_PORT_BASE: write a number, such as 16430")
        return cls.of(int(text), os.environ)

    @classmethod
    def stored(cls, path: Path) -> Ports | None:
        """The ports that the last `up` wrote to `path`, or None."""
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{field.name: int(known[field.name]) for field in fields(cls)})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                f"{path} is damaged ({type(error).__name__}); remove it and run `freshet up`"
            ) from error

    def store(self, path: Path) -> None:
        """Write them to `path` for the next `up`, `down` and `doctor`."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def asked_for(base: int | None) -> bool:
    """Whether the person said anything about ports, on the command line or in the environment."""
    return base is not None or any(name.startswith("FRESHET_PORT_") for name in os.environ)


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As servers do: a port whose connections are only waiting to be forgotten counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def holder(port: int) -> str:
    """Who listens on `port`, as far as this user may know."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            here = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if here and connection.pid:
                process = psutil.Process(connection.pid)
                return f"process {connection.pid} ({process.name()}, of user {process.username()})"
    return "a process of another user"


def require_free(wanted: Mapping[int, str]) -> None:
    """Check every port before anything starts.

    Args:
        wanted: what each port is for.

    Raises:
        Refused: some are taken; each with its holder and the remedy.
    """
    findings = [
        f"port {port}, needed for {use}, is taken by {holder(port)}; stop that, "
        f"or choose other ports: freshet up --port-base {FURTHER_BASE if port < FURTHER_BASE else 17430}"
        for port, use in wanted.items()
        if not is_free(port)
    ]
    if findings:
        raise Refused(*findings)
