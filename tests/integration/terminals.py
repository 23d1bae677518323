"""The `freshet` command, typed in a world of requests.

Invariant: the command finds this world by its environment alone, as it finds its own on a real machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.settings import settings
from portal.cli.app import app
from tests.integration.request_worlds import RequestWorld

TOLD = ("state_dir", "estate", "secrets_dir", "ledger", "engineer")
"""The settings that the command has to be told."""


class Terminal:
    """Runs the command as somebody at a terminal would."""

    def __init__(self, world: RequestWorld) -> None:
        self.world = world
        self._runner = CliRunner()

    def run(self, *arguments: str) -> Result:
        """Whatever comes of it."""
        return self._runner.invoke(app, arguments, catch_exceptions=False)

    def says(self, *arguments: str, code: int = 0) -> str:
        """What it prints when it ends with `code`: results, or for a refusal the words on stderr."""
        result = self.run(*arguments)
        assert result.exit_code == code, result.output
        if code == 0:
            assert result.stderr == ""
            return result.stdout
        assert result.stdout == ""
        return result.stderr

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - JSON
        """Its JSON."""
        return json.loads(self.says(*arguments, "--json"))

    def plan(self) -> None:
        """What the dispatcher does."""
        self.world.plan_at(datetime.now(UTC))


@contextmanager
def terminal_in(world: RequestWorld) -> Iterator[Terminal]:
    """A terminal at which the command works on `world`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in TOLD:
            patch.setenv(f"FRESHET_{name.upper()}", str(getattr(world.world.settings, name)))
        settings.cache_clear()
        try:
            yield Terminal(world)
        finally:
            settings.cache_clear()
