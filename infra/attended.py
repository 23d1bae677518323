"""Work in a thread of its own that somebody attends, so that a cancel cannot be thrown into its middle.

Prefect cancels by raising in the thread that waits. What must end in its own order (a statement, a program, a
playbook) is done by another thread, and whoever waits for it asks it to end.

Invariant: when `wait` returns or raises, the work has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Attended(Generic[Result]):
    """Work that has begun.

    Args:
        work: done in the thread; what it raises is raised again by `wait`.
        end: asks it to end soon; called from another thread.
        name: of the thread.
    """

    def __init__(self, work: Callable[[], Result], *, end: Callable[[], object], name: str) -> None:
        self._work = work
        self._end = end
        self._done: list[Result] = []
        # Not `Thread.join`: interrupted by an exception, it takes a thread that works for one that ended.
        self._ended = threading.Event()
        self.failure: BaseException | None = None
        # A process that ends without a word takes the thread along.
        threading.Thread(target=self._carry_out, name=name, daemon=True).start()

    def _carry_out(self) -> None:
        try:
            self._done.append(self._work())
        except BaseException as failure:  # noqa: BLE001 - raised again by whoever waits
            self.failure = failure
        finally:
            self._ended.set()

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended."""
        return not self._ended.is_set()

    def end(self) -> None:
        """Ask it to end; it does so within a moment."""
        self._end()

    def wait(self, watch: Callable[[], object] | None = None, *, every_s: float | None = None) -> Result:
        """Wait until it has ended; what it gave.

        Args:
            watch: called again and again meanwhile; what it raises ends the work.
            every_s: so often; without it `watch` is called once, at the end.

        Raises:
            BaseException: what the work raised, or what was raised in whoever waits.
        """
        try:
            while self.goes_on:
                self._ended.wait(every_s)
                if watch is not None:
                    watch()
        except BaseException:
            if self.goes_on:
                self.end()
            self._ended.wait()
            raise
        if self.failure is not None:
            raise self.failure
        return self._done[0]

    def wait_at_most(self, seconds: float) -> None:
        """Wait until it has ended, but not for ever, and whatever came of it."""
        self._ended.wait(seconds)
