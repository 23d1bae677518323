"""Whether work that is done again and again leaves memory behind."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

ALLOWED = 300_000
"""Bytes; caches that fill up once may still grow a little."""


def grows(work: Callable[[], object], times: int) -> int:
    """By how many bytes `times` more calls of `work` leave the process larger."""
    for _ in range(times):
        work()
    tracemalloc.start()
    try:
        for _ in range(times):
            work()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(times):
            work()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before
