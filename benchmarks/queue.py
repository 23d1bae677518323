"""Ten thousand requests through the queue: four consumers, some killed, some messages sent twice.

Invariant: what is counted is what the ledger holds at the end, compared with what was sent; the consumers'
own words count for nothing.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._queue_ground import QueueGround, Wanted, queue_ground

REQUESTS = int(os.environ.get("FRESHET_QUEUE_REQUESTS", "10000"))
CONSUMERS = 4
KILL_EVERY_S = 30.0
TWICE = 50
"""Every so many messages, one is sent a second time."""
PATIENCE_S = 900.0


def figures() -> Mapping[str, object]:
    """What `make faults` reports of the queue."""
    with TemporaryDirectory() as folder, queue_ground(Path(folder), REQUESTS) as ground:
        return through(ground, kill_every_s=KILL_EVERY_S)


def through(ground: QueueGround, *, consumers: int = CONSUMERS, kill_every_s: float) -> Mapping[str, object]:
    """Send all that `ground` wants, let consumers take it in, and compare the ledger with what was sent.

    Args:
        ground: an estate, a ledger, a queue.
        consumers: how many processes receive at once.
        kill_every_s: one of them is killed so often, and another takes its place.
    """
    working = [ground.consumer() for _ in range(consumers)]
    sender = ground.sender(twice_every=TWICE)
    began, killed_at, kills, then = time.monotonic(), time.monotonic(), 0, 0
    memory: list[tuple[int, int]] = []
    taken = 0
    while taken < len(ground.wanted) or sender.is_alive() or not ground.is_empty():
        time.sleep(0.5)
        taken = ground.taken()
        memory.append((taken, max((each.memory() for each in working), default=0)))
        if time.monotonic() - began > PATIENCE_S:
            break
        # One that works dies, not one that still starts.
        if time.monotonic() - killed_at > kill_every_s and then < taken < len(ground.wanted):
            working.pop(0).kill()
            working.append(ground.consumer())
            killed_at, kills, then = time.monotonic(), kills + 1, taken
    took = time.monotonic() - began
    ground.give_up()
    sender.join()
    for each in working:
        each.stop()
    found = ground.found()
    return {
        "queue_requests": len(ground.wanted),
        "queue_messages": ground.sent,
        "queue_lost": len(lost(ground.wanted, found)),
        "queue_twice": sum(number - 1 for number in found.values()),
        "queue_dead": ground.dead(),
        "queue_per_s": round(taken / took, 1),
        "queue_consumers": consumers,
        "queue_consumers_killed": kills,
        "queue_worker_mib": round(max(size for _, size in memory) / 2**20, 1),
        "queue_worker_growth_mib": round(_growth(memory, len(ground.wanted)) / 2**20, 1),
        "queue_cores": len(os.sched_getaffinity(0)),
    }


def lost(wanted: list[Wanted], found: Counter[Wanted]) -> list[Wanted]:
    """What was sent and is not in the ledger."""
    return [each for each in wanted if found[each] == 0]


def _growth(memory: list[tuple[int, int]], total: int) -> float:
    """By how much the largest worker is larger in the last quarter than in the second."""
    second = [size for taken, size in memory if total / 4 <= taken < total / 2]
    last = [size for taken, size in memory if taken >= total * 3 / 4]
    return statistics.median(last) - statistics.median(second) if second and last else 0.0
