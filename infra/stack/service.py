"""What all parts of the stack have in common, and how to wait for one.

Invariant: a service's health is asked of the service itself, never concluded from a file or a process id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from policy.errors import Unavailable


class Service(Protocol):
    """One part of the stack.

    Attributes:
        name: its short name, also that of its log.
        what: what it is, for people.
        ports: the ports it listens on.
        after: names of the services that it needs.
    """

    name: str
    what: str
    ports: tuple[int, ...]
    after: tuple[str, ...]

    def running(self) -> bool:
        """Whether its program runs, healthy or not."""
        ...

    def start(self, stopping: threading.Event) -> None:
        """Start it unless it is healthy, and wait until it is; give up early when `stopping` is set.

        Raises:
            Unavailable: it did not become healthy; says why.
        """
        ...

    def stop(self) -> None:
        """Stop it; harmless when it does not run."""
        ...

    def ailment(self) -> str | None:
        """What is wrong with it, in one sentence, or None when it serves."""
        ...


def wait_until_well(
    ailment: Callable[[], str | None],
    *,
    alive: Callable[[], bool],
    last_words: Callable[[], str],
    stopping: threading.Event,
    within_s: float,
) -> None:
    """Wait until `ailment` finds nothing.

    Args:
        ailment: as in `Service`.
        alive: whether waiting makes sense; asked until it was true once, then again when it is not.
        last_words: the end of the log, for the error.
        stopping: ends the wait.
        within_s: how long to wait.

    Raises:
        Unavailable: it died, or did not serve in time.
    """
    deadline = time.monotonic() + within_s
    born_by = time.monotonic() + 5.0
    while (wrong := ailment()) is not None:
        if stopping.is_set():
            raise Unavailable("stopped while it was starting; run `freshet up` again, or `freshet down`")
        if time.monotonic() > born_by and not alive():
            raise Unavailable(f"it ended; {last_words()}")
        if time.monotonic() > deadline:
            raise Unavailable(f"{wrong}, even after {within_s:.0f} s; {last_words()}")
        stopping.wait(0.1)
