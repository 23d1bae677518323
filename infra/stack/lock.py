"""One `up` or `down` at a time for each state directory.

Invariant: the kernel holds the lock for the process, so a killed `up` never leaves it locked.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from policy.errors import Busy


@contextmanager
def exclusive(path: Path, *, wait_s: float, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock in `path` for the block.

    Args:
        path: the lock file; created when absent.
        wait_s: how long to wait for another holder.
        waiting: told once that another one holds it.

    Raises:
        Busy: it was not free in time.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                if not told:
                    waiting(f"waiting for process {pid}, which is starting or stopping this stack")
                    told = True
                if time.monotonic() > deadline:
                    raise Busy(f"process {pid} is starting or stopping this stack; try again later") from None
                time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
