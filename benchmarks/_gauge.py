"""How fast this machine is just now, so that whoever reads a ratio sees what machine its sides met.

A virtual machine shares its cores with neighbours. On one of them the very same copy took 22 CPU-seconds and
30 within five minutes, and nothing inside the machine told why.
"""

from __future__ import annotations

import os
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

_SECONDS = 0.6
# Compressing keeps a core and its caches busy, and lets the other threads run meanwhile.
_TEXT = b" ".join(str(number * number).encode() for number in range(40_000))


def speed() -> float:
    """Megabytes that all cores together compress in a second, over a little more than half a second."""
    cores = len(os.sched_getaffinity(0))
    ends = time.monotonic() + _SECONDS

    def work(_: int) -> float:
        rounds = 0
        began = time.monotonic()
        while time.monotonic() < ends:
            zlib.compress(_TEXT, 1)
            rounds += 1
        return rounds * len(_TEXT) / (time.monotonic() - began)

    with ThreadPoolExecutor(max_workers=cores) as pool:
        return round(sum(pool.map(work, range(cores))) / 1e6, 1)
