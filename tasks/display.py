"""What a run shows while it works: in Prefect when there is one, in plain lines otherwise.

Invariant: a display that fails changes nothing but what is shown; it is logged once and switched off.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol, TypeVar
from uuid import UUID

import httpx
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from infra.redaction import redact

Result = TypeVar("Result")

log = logging.getLogger("freshet.run")

_EVERY = 1.0
"""Seconds between two updates of a progress bar."""


class Display(Protocol):
    """Where a run's words go."""

    def carry(self, title: str, act: Callable[[], Result]) -> Result:
        """Call `act` as the step `title` and return what it returns."""
        ...

    def say(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Show one line, or how much of `total` is `done`."""
        ...

    def report(self, key: str, markdown: str) -> None:
        """Show the report of a run."""
        ...


class PlainDisplay:
    """Log lines only; used where no Prefect flow runs."""

    def carry(self, title: str, act: Callable[[], Result]) -> Result:
        """Call `act` as the step `title` and return what it returns."""
        log.info("%s", title, extra={"action": "step"})
        return act()

    def say(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Log one line."""
        if done is None or total is None:
            log.info("%s", text, extra={"action": "say"})

    def report(self, key: str, markdown: str) -> None:
        """The ledger keeps the report; nothing to show here."""


class PrefectDisplay:
    """Steps as Prefect tasks, progress and reports as artifacts.

    Args:
        run: the run's id, part of the artifacts' keys.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._bar: UUID | None = None
        self._last = 0.0
        self._broken = False

    def carry(self, title: str, act: Callable[[], Result]) -> Result:
        """Call `act` as a task run named `title`."""
        step: Callable[[], Result] = task(name=title, task_run_name=title, persist_result=False)(act)
        return step()

    def say(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Log one line; move the run's progress bar when there is something to measure."""
        if done is None or not total:
            log.info("%s", text, extra={"action": "say", "run": self._run})
            return
        now = time.monotonic()
        if now - self._last < _EVERY and done < total:
            return
        self._last = now
        self._try(lambda: self._move_bar(text, min(100.0, 100.0 * done / total)))

    def _move_bar(self, text: str, percent: float) -> None:
        if self._bar is None:
            made = create_progress_artifact(
                progress=percent, key=f"progress-{self._run}", description=redact(text)
            )
            self._bar = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(artifact_id=self._bar, progress=percent, description=redact(text))

    def report(self, key: str, markdown: str) -> None:
        """Keep the report as a Markdown artifact."""
        self._try(lambda: create_markdown_artifact(key=key, markdown=redact(markdown)))

    def _try(self, show: Callable[[], object]) -> None:
        if self._broken:
            return
        try:
            show()
        except (httpx.HTTPError, PrefectException, OSError) as error:
            self._broken = True
            log.warning("Prefect shows no more of %s: %s", self._run, type(error).__name__)
