"""Waits for what another thread or process does, for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(true: Callable[[], bool], patience: float = 60, rest: float = 0.02) -> None:
    """Return when `true` is, asked every `rest` seconds; fail when it does not come to that."""
    ends = time.monotonic() + patience
    while not true():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(rest)
