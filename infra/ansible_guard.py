"""When a playbook may begin, and when it has to end.

Invariant: whoever must end a playbook ends every process of it, which the runner alone would not do.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from infra import ansible_processes as processes

PATIENCE_S = 3600.0
"""A playbook that was started ahead is ended when its gate was not opened for so long."""


@dataclass(kw_only=True)
class Gate:
    """Holds back a playbook whose process was started ahead.

    Attributes:
        path: the process waits until it is there.
        opened_at: by the monotonic clock, or None.
    """

    path: Path
    opened_at: float | None = field(default=None, init=False)

    def open(self) -> None:
        """Let the playbook begin."""
        self.opened_at = time.monotonic()
        self.path.touch(mode=0o600)

    @property
    def ready(self) -> bool:
        """Whether the process waits in front of it."""
        return self.path.with_name(f"{self.path.name}.ready").exists()

    def forget(self) -> None:
        """Remove its files."""
        for path in (self.path, self.path.with_name(f"{self.path.name}.ready")):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.path.with_name(f"{self.path.name}.modules"), ignore_errors=True)


@dataclass(kw_only=True)
class Guard:
    """Asked by the runner several times a second; ends all itself, which the runner would leave running.

    Attributes:
        reason: why it was ended, or an empty string.
    """

    call: str
    timeout_s: float
    cancelled: Callable[[], bool]
    gate: Gate | None = None
    begun: float = field(default_factory=time.monotonic, init=False)
    reason: str = field(default="", init=False)

    @property
    def counts_from(self) -> float:
        """When the work began, by the monotonic clock."""
        return self.begun if self.gate is None or self.gate.opened_at is None else self.gate.opened_at

    def give_up(self) -> None:
        """End everything now: whoever waits for it was cancelled."""
        self.reason = self.reason or "cancelled"
        processes.end(processes.of_call(self.call))

    def __call__(self) -> bool:
        """Never tells the runner to cancel: what has to be ended is ended here."""
        if not self.reason:
            waits = self.gate is not None and self.gate.opened_at is None
            patience = PATIENCE_S if waits else self.timeout_s
            if self.cancelled():
                self.reason = "cancelled"
            elif time.monotonic() > self.counts_from + patience:
                self.reason = "not done in time, ended"
            if self.reason:
                processes.end(processes.of_call(self.call))
        return False
