"""A heartbeat: beside its holder's work, a thread renews what the holder would lose by its silence.

Invariant: it beats from `start` to `stop` and goes on through an outage of the ledger; it ends by itself only
when the hold is lost, because then there is nothing left to renew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from policy.errors import Busy, Unavailable

PATIENCE = 10.0
"""Seconds that stopping waits for a beat under way; the thread is a daemon, so that nothing waits longer."""


class Heartbeat:
    """Renews a hold until it is stopped.

    Args:
        name: what its thread is called.
        lease_seconds: for how long a silent holder keeps its hold; a quarter of that lies between two beats.
        renew: proves the hold and renews it; `Busy` or `Unavailable` when it could not.
        lost: set, by whoever finds it out, once another holder took over.
        missed: told about each beat that failed while the hold is not lost.
    """

    def __init__(
        self,
        name: str,
        *,
        lease_seconds: float,
        renew: Callable[[], None],
        lost: threading.Event,
        missed: Callable[[Busy | Unavailable], None],
    ) -> None:
        self._every = lease_seconds / 4
        self._renew = renew
        self._lost = lost
        self._missed = missed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=name, daemon=True)

    def start(self) -> None:
        """Begin to beat; the first renewal comes after a quarter of the lease."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more, and wait a moment for a beat that is under way."""
        self._ended.set()
        self._thread.join(timeout=PATIENCE)

    def _beat(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self._renew()
            except (Busy, Unavailable) as error:
                if self._lost.is_set():
                    return
                self._missed(error)
