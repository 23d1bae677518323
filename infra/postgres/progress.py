"""How far a copy is: bytes, rows, and when it should end.

Invariant: the share done never falls and never reaches one before the work has ended; the figures are counted
where the data passes, so that telling them costs the servers nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One look at a running copy.

    Attributes:
        phase: what is being done, in plain words.
        bytes_done: bytes of data that have passed so far.
        bytes_total: stored size of what is to be copied, an estimate of `bytes_done` at the end.
        rows_done: rows of the tables that have arrived whole.
        share: part of the whole work that is done, indexes included, from 0 to 1.
        eta_s: seconds that should still be needed, or None while there is nothing to judge by.
    """

    phase: str
    bytes_done: int
    bytes_total: int
    rows_done: int
    share: float
    eta_s: float | None


Watch = Callable[[Progress], None]
"""Called about twice a second by the thread that called `copy`; what it raises ends the copy."""


def unwatched(_: Progress) -> None:
    """Watches nothing."""


class Meter:
    """Counts while several threads carry; the weights make one figure of copying and index building.

    Args:
        bytes_total: stored size of the data.
        weight: size of the whole work in the same unit, data and indexes.
    """

    def __init__(self, *, bytes_total: int, weight: int) -> None:
        self._bytes_total = bytes_total
        self._weight = max(weight, 1)
        self._lock = threading.Lock()
        self._bytes = 0
        self._rows = 0
        self._finished = 0
        self._passing = 0
        self._began = time.monotonic()
        self._share = 0.0
        self.phase = "starting"

    @property
    def bytes(self) -> int:
        """Bytes that have passed."""
        return self._bytes

    @property
    def rows(self) -> int:
        """Rows of finished tables."""
        return self._rows

    def passed(self, count: int) -> None:
        """`count` more bytes have passed."""
        with self._lock:
            self._bytes += count
            self._passing += count

    def arrived(self, *, rows: int, carried: int, weight: int) -> None:
        """A table is whole: its bytes in passing become its stored weight."""
        with self._lock:
            self._rows += rows
            self._passing -= carried
            self._finished += weight

    def finished(self, weight: int) -> None:
        """Work of this weight, other than carrying, is done."""
        with self._lock:
            self._finished += weight

    def look(self) -> Progress:
        """The present figures."""
        with self._lock:
            done = min((self._finished + max(self._passing, 0)) / self._weight, 0.99)
            self._share = max(self._share, done)
            elapsed = time.monotonic() - self._began
            eta = elapsed * (1 - self._share) / self._share if self._share > 0.01 else None  # noqa: PLR2004 - a hundredth, to guess from
            return Progress(
                phase=self.phase,
                bytes_done=self._bytes,
                bytes_total=self._bytes_total,
                rows_done=self._rows,
                share=self._share,
                eta_s=eta,
            )
