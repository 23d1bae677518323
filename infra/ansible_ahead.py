"""A playbook whose process is started ahead, so that nobody is kept waiting while Ansible starts.

Invariant: before `go` nothing of it touches a host; one that is not wanted any more is ended.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from infra.ansible import StageResult
from infra.ansible_guard import Gate
from infra.attended import Attended

READY_S = 5.0
GONE_S = 15.0
_TICK_S = 0.02


class Ahead:
    """One playbook run behind a gate.

    Args:
        scratch: the run's folder; the gate's files lie there.
        carry_out: calls `infra.ansible.run_stages` with the gate, and with a question whether it is unwanted.
    """

    def __init__(self, scratch: Path, carry_out: Callable[[Gate, Callable[[], bool]], StageResult]) -> None:
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._gate = Gate(path=scratch / f"gate-{uuid.uuid4().hex}")
        self._unwanted = threading.Event()

        def work() -> StageResult:
            try:
                return carry_out(self._gate, self._unwanted.is_set)
            finally:
                self._gate.forget()

        # A process that ends without a word takes its thread along, and the kernel then ends the playbook's.
        self._work = Attended(work, end=self._unwanted.set, name="ansible-ahead")

    def wait_until_ready(self, patience_s: float = READY_S) -> bool:
        """Wait until Ansible has started, but not for longer than `patience_s`; whether it has."""
        give_up = time.monotonic() + patience_s
        while self._work.goes_on and time.monotonic() < give_up:
            if self._gate.ready:
                return True
            time.sleep(_TICK_S)
        return False

    @property
    def usable(self) -> bool:
        """Whether it still waits; one that ended by itself is of no use."""
        return self._work.goes_on

    @property
    def ended(self) -> str:
        """Why it ended before it was wanted; empty while it waits."""
        return "" if self.usable else str(self._work.failure or "it ended without a word")

    def go(self) -> StageResult:
        """Let it begin and wait for its end.

        Raises:
            FreshetError: as `infra.ansible.run_stages` does.
        """
        self._gate.open()
        return self._work.wait()

    def withdraw(self) -> None:
        """It is not wanted any more; it ends by itself within a moment."""
        self._work.end()

    def wait_until_gone(self) -> None:
        """Wait until nothing of it is left, but not for ever."""
        self._work.wait_at_most(GONE_S)
