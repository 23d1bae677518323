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
        self._result: StageResult | None = None
        self._failure: BaseException | None = None
        self._carry_out = carry_out
        # A process that ends without a word takes the thread along, and the kernel then ends the playbook's.
        self._thread = threading.Thread(target=self._work, name="ansible-ahead", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._result = self._carry_out(self._gate, self._unwanted.is_set)
        except BaseException as failure:  # noqa: BLE001 - raised again by whoever waits for the result
            self._failure = failure
        finally:
            self._gate.forget()

    def wait_until_ready(self, patience_s: float = READY_S) -> bool:
        """Wait until Ansible has started, but not for longer than `patience_s`; whether it has."""
        give_up = time.monotonic() + patience_s
        while self._thread.is_alive() and time.monotonic() < give_up:
            if self._gate.ready:
                return True
            time.sleep(_TICK_S)
        return False

    @property
    def usable(self) -> bool:
        """Whether it still waits; one that ended by itself is of no use."""
        return self._thread.is_alive()

    @property
    def ended(self) -> str:
        """Why it ended before it was wanted; empty while it waits."""
        return "" if self.usable else str(self._failure or "it ended without a word")

    def go(self) -> StageResult:
        """Let it begin and wait for its end.

        Raises:
            FreshetError: as `infra.ansible.run_stages` does.
        """
        self._gate.open()
        try:
            self._thread.join()
        except BaseException:
            # Whoever waits was cancelled: so is the work.
            self.withdraw()
            self._thread.join()
            raise
        if self._failure is not None:
            raise self._failure
        if self._result is None:
            raise RuntimeError("a playbook that was started ahead ended without a result")
        return self._result

    def withdraw(self) -> None:
        """It is not wanted any more; it ends by itself within a moment."""
        self._unwanted.set()

    def wait_until_gone(self) -> None:
        """Wait until nothing of it is left, but not for ever."""
        self._thread.join(GONE_S)
