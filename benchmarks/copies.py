"""Copies against what others do, each beside its peer on the same servers.

Ratios are taken between neighbours: two copies that came right after one another, so that both met nearly the
same machine. A figure is the median of its ratios, and the order is turned round every time; how fast the
machine was meanwhile is told beside (`benchmarks._gauge`).

Environment: BENCH_GB (default 1.8) and BENCH_ROUNDS (default 3).
"""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmarks._copy_ground import GIGABYTES, ROUNDS, SOURCE, Ground, free_port, ground
from benchmarks._copy_peers import Peer, analyze, custom, directory, pgcopydb
from benchmarks._copy_worker import Streamed, stream
from benchmarks._gauge import speed
from infra.postgres.physical import Physical
from infra.postgres.progress import unwatched
from infra.stack.cluster import Cluster

Seconds = dict[str, float]


@dataclass(kw_only=True)
class Tried:
    """What was measured.

    Attributes:
        seconds: of each copy, all rounds.
        ratios: of a copy to its neighbour.
        workers: what the stream's process measured of itself.
        speeds: of the machine, in megabytes a second.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    ratios: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    workers: list[Streamed] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)

    def ratio(self, one: str, other: str) -> float:
        """The median of one to the other."""
        return round(statistics.median(self.ratios[one, other]), 3)

    def count(self, one: tuple[str, Seconds], other: tuple[str, Seconds]) -> None:
        """Take two neighbours' ratios."""
        for left, right in (one, other), (other, one):
            for kind in left[1].keys() & right[1].keys():
                pair = (f"{left[0]}{kind}", f"{right[0]}{kind}")
                self.ratios.setdefault(pair, []).append(left[1][kind] / right[1][kind])


def figures() -> dict[str, object]:
    """Measure on two clusters of their own."""
    notes: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder,
        ground(Path(folder) / "copies") as place,
    ):
        return {**_copies(place, notes), "notes": notes}


def _copies(place: Ground, notes: dict[str, str]) -> dict[str, object]:
    place.fill(SOURCE, gigabytes=GIGABYTES)
    tried = Tried()
    acts: dict[str, Callable[[], Seconds]] = {
        "directory": partial(_peer, place, directory, "directory"),
        "stream": partial(_streamed, place, tried, masked=False),
        "masked": partial(_streamed, place, tried, masked=True),
        "physical": partial(_physical, place),
        "custom": partial(_peer, place, custom, "custom"),
    }
    # Whoever is compared stands beside whom it is compared with.
    order = ["custom", "stream", "masked", "stream", "directory", "physical"]
    peers = ["directory"]
    if shutil.which("pgcopydb"):
        acts["pgcopydb"] = partial(_peer, place, pgcopydb, "pgcopydb")
        order = ["custom", "stream", "directory", "physical", "pgcopydb", "stream", "masked"]
        peers.append("pgcopydb")
    else:
        notes["pgcopydb"] = "not installed here, so it was no peer"
    for number in range(ROUNDS):
        _round(acts, order if number % 2 == 0 else order[::-1], tried)
    best = max(peers, key=lambda peer: tried.ratio("stream", peer))
    notes["done"] = "a copy is done when its statistics are made: a peer that makes none is given them"
    notes["machine"] = f"its speed went from {min(tried.speeds)} to {max(tried.speeds)} MB/s meanwhile"
    return {
        "stream_vs_best_peer": tried.ratio("stream", best),
        **{f"stream_vs_{peer}": tried.ratio("stream", peer) for peer in peers},
        "stream_cpu_vs_best_peer": tried.ratio("stream_cpu", f"{best}_cpu"),
        "stream_vs_dump_custom": tried.ratio("stream", "custom"),
        "mask_overhead": round(tried.ratio("masked", "stream") - 1, 3),
        "mask_cpu_overhead": round(tried.ratio("masked_cpu", "stream_cpu") - 1, 3),
        "physical_masked_vs_best_peer": tried.ratio("physical", best),
        "best_peer": best,
        "worker_rss_mb": round(max(worker.rss_mb for worker in tried.workers), 1),
        "worker_cpu_s": round(statistics.median(worker.cpu_s for worker in tried.workers), 2),
        "database_gb": round(_size(place) / 1e9, 2),
        "ratios": {
            f"{one} / {other}": [round(each, 3) for each in found]
            for (one, other), found in sorted(tried.ratios.items())
            if one < other and "_cpu" not in one
        },
        "seconds": {name: [round(each, 1) for each in found] for name, found in tried.seconds.items()},
    }


def _round(acts: Mapping[str, Callable[[], Seconds]], order: Sequence[str], tried: Tried) -> None:
    """Do everything once; each pair of neighbours gives a ratio."""
    done: list[tuple[str, Seconds]] = []
    for name in order:
        # What the one before left to be written must not slow the next one down.
        os.sync()
        tried.speeds.append(speed())
        done.append((name, acts[name]()))
        print(f"{tried.speeds[-1]:8.1f} MB/s  {name:10} {done[-1][1]['']:6.1f} s", flush=True)
        tried.seconds.setdefault(name, []).append(done[-1][1][""])
    for one, other in pairwise(done):
        tried.count(one, other)


def _size(place: Ground) -> int:
    with place.admin(place.source, SOURCE) as admin:
        row = admin.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0


def _streamed(place: Ground, tried: Tried, *, masked: bool) -> Seconds:
    job = place.job(masked=masked)
    place.create(job)
    try:
        before = place.cpu()
        done = stream(job)
        tried.workers.append(done)
        return {"": done.seconds, "_cpu": place.cpu() - before}
    finally:
        place.drop(job.incoming)


def _peer(place: Ground, peer: Peer, name: str) -> Seconds:
    job = place.job(masked=False)
    place.create(job)
    try:
        before = place.cpu()
        took = peer(job)
        if name != "pgcopydb":
            took += analyze(job)
        return {"": took, "_cpu": place.cpu() - before}
    finally:
        place.drop(job.incoming)


def _physical(place: Ground) -> Seconds:
    made = place.folder / f"dedicated-{secrets.token_hex(4)}"
    job = replace(place.job(masked=True), dedicated=made)
    try:
        began = time.monotonic()
        Physical().copy(job, unwatched)
        cluster = Cluster(data=made, port=free_port())
        cluster.start()
        took = time.monotonic() - began
        cluster.stop(fast=False)
        return {"": took}
    finally:
        shutil.rmtree(made, ignore_errors=True)
