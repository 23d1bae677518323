"""Several acts at the same moment, each in a thread of its own: what a race needs to happen."""

from __future__ import annotations

import threading
from collections.abc import Callable


def at_once(*acts: Callable[[], object]) -> None:
    """Let all `acts` begin together, and wait until each has ended."""
    together = threading.Barrier(len(acts))

    def begin(act: Callable[[], object]) -> None:
        together.wait()
        act()

    threads = [threading.Thread(target=begin, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
