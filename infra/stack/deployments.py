"""Registers with Prefect what `prefect.yaml` and `automations.yaml` declare, when any of it has changed.

Invariant: what is remembered as registered was registered by this code with this server's database.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from infra.stack import automations, settings_file
from infra.stack.layout import PROJECT, Layout
from infra.stack.processes import cookie
from policy.errors import Unavailable

AUTOMATIONS = PROJECT / "automations.yaml"
REGISTER = ("-m", "prefect", "--no-prompt", "deploy", "--all")
_WITHIN_S = 180.0
# A deployment's form is made from the flow's parameters, and their types may come from anywhere here.
_SOURCES = ("flows", "tasks", "infra", "policy")


class Deployments:
    """The deployments and automations of one stack.

    Args:
        layout: where the stack keeps things.
        settings: how Prefect is reached.
        database: the identity of the cluster that holds Prefect's database.
    """

    def __init__(self, *, layout: Layout, settings: Mapping[str, str], database: str) -> None:
        self._layout = layout
        self._settings = settings
        self._database = database
        self._memory = layout.state / "deployments.digest"

    def current(self) -> bool:
        """Whether nothing has changed since they were registered, here and at the server."""
        try:
            remembered = self._memory.read_text(encoding="ascii")
        except FileNotFoundError:
            return False
        return remembered == self._state()

    def register(self) -> None:
        """Register them all.

        Raises:
            Unavailable: Prefect refused or did not answer in time; says where all of its words are.
        """
        try:
            done = subprocess.run(
                [sys.executable, *REGISTER],
                capture_output=True,
                text=True,
                check=False,
                cwd=PROJECT,
                env={**settings_file.environment(self._settings), **cookie(self._layout.state)},
                stdin=subprocess.DEVNULL,
                timeout=_WITHIN_S,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"they were not registered within {_WITHIN_S:.0f} s") from error
        log = self._layout.logs / "deployments.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode != 0:
            # Prefect draws boxes around what it says.
            lines = (line.strip(" │╭╰─╮╯") for line in (done.stdout + done.stderr).splitlines())
            said = " / ".join([line for line in lines if line][-4:])
            raise Unavailable(f"they could not be registered: {said} (all of it: {log})")
        automations.register(self._settings["PREFECT_API_URL"], automations.declared(AUTOMATIONS))
        self._memory.write_text(self._state(), encoding="ascii")

    def _state(self) -> str:
        digest = hashlib.sha256(self._database.encode())
        digest.update(Path(sys.executable).as_posix().encode())
        declared = [PROJECT / "prefect.yaml", AUTOMATIONS, PROJECT / "requirements.lock"]
        for path in [*declared, *sorted(p for folder in _SOURCES for p in (PROJECT / folder).rglob("*.py"))]:
            digest.update(path.as_posix().encode() + path.read_bytes())
        return f"{digest.hexdigest()} {self._count()}"

    def _count(self) -> str:
        """How many deployments and automations the server knows: somebody may have deleted one."""
        api = self._settings["PREFECT_API_URL"]
        acting = automations.count(api, automations.declared(AUTOMATIONS))
        try:
            return f"{int(httpx.post(f'{api}/deployments/count', json={}, timeout=10.0).json())} {acting}"
        except (httpx.HTTPError, TypeError, ValueError) as error:
            raise Unavailable(f"Prefect does not tell its deployments ({type(error).__name__})") from error
