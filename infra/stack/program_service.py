"""A service of the stack that is one program.

Invariant: a start returns only when the program itself has answered.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from infra.stack.daemon import Daemon
from infra.stack.service import wait_until_well


class ProgramService(ABC):
    """What such services have in common.

    Attributes:
        daemon: its program.
        within_s: so long its program may take until it answers.
        grace_s: so long it may take to end.
    """

    daemon: Daemon
    within_s: float = 30.0
    grace_s: float = 10.0

    def running(self) -> bool:
        """Whether its process runs."""
        return self.daemon.process() is not None

    def start(self, stopping: threading.Event) -> None:
        """Start it and wait until it answers; give up early when `stopping` is set.

        Raises:
            Unavailable: it did not answer; says why.
        """
        self.daemon.start()
        wait_until_well(
            self.silence,
            alive=self.running,
            last_words=self.daemon.last_words,
            stopping=stopping,
            within_s=self.within_s,
        )

    def stop(self) -> None:
        """Stop it, and what it started."""
        self.daemon.stop(grace_s=self.grace_s)

    @abstractmethod
    def ailment(self) -> str | None:
        """What keeps it from serving."""

    def silence(self) -> str | None:
        """What keeps it from answering, where that is less than serving."""
        return self.ailment()
