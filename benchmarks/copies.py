"""Copies against what others do, paired round by round on the same servers.

Figures are medians over rounds of ratios within a round, so that a machine that is slow for a while is slow
for both.

Environment: BENCH_GB (default 1.8) and BENCH_ROUNDS (default 3).
"""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks._copy_ground import GIGABYTES, ROUNDS, SOURCE, Ground, free_port, ground
from benchmarks._copy_peers import Peer, analyze, custom, directory, pgcopydb
from benchmarks._copy_worker import Streamed, stream
from infra.postgres.physical import Physical
from infra.postgres.progress import unwatched
from infra.stack.cluster import Cluster


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
    peers: dict[str, Peer] = {"directory": directory, "custom": custom}
    if shutil.which("pgcopydb"):
        peers["pgcopydb"] = pgcopydb
    else:
        notes["pgcopydb"] = "not installed here, so it was no peer"
    rounds: list[dict[str, float]] = []
    workers: list[Streamed] = []
    for number in range(ROUNDS):
        seconds: dict[str, float] = {}
        acts: list[Callable[[], None]] = [
            lambda: workers.append(_streamed(place, seconds, "stream", masked=False)),  # noqa: B023
            lambda: workers.append(_streamed(place, seconds, "masked", masked=True)),  # noqa: B023
            lambda: seconds.update(physical=_physical(place)),  # noqa: B023
            *(lambda name=name: _peer(place, peers[name], name, seconds) for name in peers),  # noqa: B023
        ]
        # Another order each round, so that none always comes when the caches are just right.
        for act in acts[number % len(acts) :] + acts[: number % len(acts)]:
            # What the one before left to be written must not slow the next one down.
            os.sync()
            act()
        print({name: round(value, 1) for name, value in seconds.items()}, flush=True)
        rounds.append(seconds)
    served = [name for name in ("directory", "pgcopydb") if name in peers]
    best = [min(seconds[f"{name}_served"] for name in served) for seconds in rounds]
    bare = [min(seconds[name] for name in served) for seconds in rounds]
    cpu = [min(seconds[f"{name}_cpu"] for name in served) for seconds in rounds]
    median = {name: round(statistics.median(seconds[name] for seconds in rounds), 2) for name in rounds[0]}
    notes["done"] = "a copy is done when its statistics are made; `…_bare_peer` leaves the peer's out"
    return {
        "stream_vs_best_peer": _ratio(rounds, "stream", best),
        "stream_vs_best_bare_peer": _ratio(rounds, "stream", bare),
        "stream_cpu_vs_best_peer": _ratio(rounds, "stream_cpu", cpu),
        "mask_cpu_overhead": round(
            _ratio(rounds, "masked_cpu", [seconds["stream_cpu"] for seconds in rounds]) - 1, 3
        ),
        "stream_vs_dump_custom": _ratio(rounds, "stream", [seconds["custom"] for seconds in rounds]),
        "mask_overhead": round(_ratio(rounds, "masked", [seconds["stream"] for seconds in rounds]) - 1, 3),
        "physical_masked_vs_best_peer": _ratio(rounds, "physical", best),
        "worker_rss_mb": round(max(worker.rss_mb for worker in workers), 1),
        "worker_cpu_s": round(statistics.median(worker.cpu_s for worker in workers), 2),
        "database_gb": round(_size(place) / 1e9, 2),
        "rounds": ROUNDS,
        "seconds": median,
    }


def _ratio(rounds: list[dict[str, float]], name: str, others: list[float]) -> float:
    return round(statistics.median(own[name] / other for own, other in zip(rounds, others, strict=True)), 3)


def _size(place: Ground) -> int:
    with place.admin(place.source, SOURCE) as admin:
        row = admin.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0


def _streamed(place: Ground, seconds: dict[str, float], name: str, *, masked: bool) -> Streamed:
    job = place.job(masked=masked)
    place.create(job)
    try:
        before = place.cpu()
        done = stream(job)
        seconds[name] = done.seconds
        seconds[f"{name}_cpu"] = place.cpu() - before
        return done
    finally:
        place.drop(job.incoming)


def _peer(place: Ground, peer: Peer, name: str, seconds: dict[str, float]) -> None:
    job = place.job(masked=False)
    place.create(job)
    try:
        before = place.cpu()
        seconds[name] = peer(job)
        seconds[f"{name}_served"] = seconds[name] + (0 if name == "pgcopydb" else analyze(job))
        seconds[f"{name}_cpu"] = place.cpu() - before
    finally:
        place.drop(job.incoming)


def _physical(place: Ground) -> float:
    made = place.folder / f"dedicated-{secrets.token_hex(4)}"
    job = replace(place.job(masked=True), dedicated=made)
    try:
        began = time.monotonic()
        Physical().copy(job, unwatched)
        cluster = Cluster(data=made, port=free_port())
        cluster.start()
        took = time.monotonic() - began
        cluster.stop(fast=False)
        return took
    finally:
        shutil.rmtree(made, ignore_errors=True)
