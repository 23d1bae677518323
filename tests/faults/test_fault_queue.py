"""Requests through SQS with several consumers that die: every one of them arrives, and arrives once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import queue
from benchmarks._queue_ground import Wanted, queue_ground
from infra.stack.cluster import Cluster

REQUESTS = 400


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_request_arrives_once_whoever_dies(
    trial_cluster: Cluster, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with queue_ground(tmp_path, REQUESTS, trial_cluster) as ground:
        figures = queue.through(ground, kill_every_s=3)
        found = ground.found()
    for name, value in figures.items():
        record_property(f"short {name}", value)
    assert found == dict.fromkeys(ground.wanted, 1)
    assert (figures["queue_lost"], figures["queue_twice"], figures["queue_dead"]) == (0, 0, 0)
    assert figures["queue_messages"] == REQUESTS + REQUESTS // queue.TWICE
    assert figures["queue_consumers_killed"], "nobody died, so little was tried"


def test_what_is_missing_is_counted() -> None:
    wanted = [Wanted("c1", "sandbox", "refresh"), Wanted("c2", "sandbox", "refresh")]
    assert queue.lost(wanted, Counter({wanted[0]: 2})) == [wanted[1]]
