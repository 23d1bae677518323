"""Copies against what others do, paired round by round on the same servers: `make bench BENCH=refresh`.

Figures are medians over rounds of ratios within a round, so that a machine that is slow for a while is slow
for both. What cannot be measured on a machine is None, and `notes` says why.

Environment: BENCH_GB (default 1.8) and BENCH_ROUNDS (default 3); BENCH_REFLINK, a folder on a file system
that shares blocks (default: the temporary folder, if it does).
"""

from __future__ import annotations

import json
import os
import pickle
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks import golden, swap
from benchmarks.__main__ import commit
from benchmarks._copy_ground import SOURCE, Ground, free_port, ground
from benchmarks._copy_peers import BIN, Peer, analyze, custom, directory, pgcopydb
from benchmarks._copy_worker import Streamed, command, stream
from infra.postgres.golden import GoldenClone
from infra.postgres.golden_build import build_golden
from infra.postgres.methods import choose
from infra.postgres.physical import Physical
from infra.postgres.progress import unwatched
from infra.postgres.stream import Stream
from infra.stack.cluster import Cluster
from tasks.copy_masked import METHODS

GIGABYTES = float(os.environ.get("BENCH_GB", "1.8"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CLONED_GIGABYTES = (0.1, 1.0, 5.0)
LOAD_SECONDS = 20
CLIENTS = 4


def figures() -> dict[str, object]:
    """Measure everything that this machine can."""
    notes: dict[str, str] = {}
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder:
        with ground(Path(folder) / "copies") as place:
            found |= _copies(place, notes)
        found |= _throughput(Path(folder) / "load", notes)
        found |= _golden(Path(folder), notes)
    swapped = swap.figures()
    found |= {name: swapped[name] for name in ("swap_downtime_max_s", "swap_failures")}
    found |= _through_the_stack(notes)
    return {**found, "notes": notes}


def _through_the_stack(notes: dict[str, str]) -> dict[str, object]:
    """What `benchmarks golden` measured at this very commit, or measured now."""
    path = Path(__file__).parent / "results" / "golden.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found: dict[str, object] = kept["figures"] if kept.get("commit") == commit() else golden.figures()
    notes["golden_run_s"] = (
        f"from the claim to Completed, through the real stack, Production of {found['golden_database_gb']} "
        "GB; golden_web_s of it are the web application's own door and health check. "
        f"The file system {found['golden_file_system']}: {found['golden_how']}"
    )
    return found


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


def _throughput(folder: Path, notes: dict[str, str]) -> dict[str, object]:
    """What the source's own work loses while a copy is streamed from it under the default throttle."""
    if not {0, 1} <= os.sched_getaffinity(0):
        notes["source_throughput_loss"] = "needs two cores, to give source and target one each"
        return {"source_throughput_loss": None}
    notes["source_throughput_loss"] = (
        f"source with {CLIENTS} pgbench clients on one core, target and worker on another, one stream, "
        "median of rounds"
    )
    losses: list[float] = []
    with ground(folder, source_core=0, target_core=1) as place:
        place.fill(SOURCE, gigabytes=GIGABYTES)
        with place.admin(place.source) as admin:
            admin.execute("CREATE DATABASE work")
        _pgbench(place, "-i", "-s", "10", "-q")
        for _ in range(ROUNDS):
            alone = _rate(place)
            job = replace(place.job(masked=True), jobs=2)
            place.create(job)
            asked = place.folder / "job"
            asked.write_bytes(pickle.dumps(job))
            worker = subprocess.Popen(command(asked, place.folder / "answer"))
            os.sched_setaffinity(worker.pid, {1})
            time.sleep(1)
            together = _rate(place)
            still = worker.poll() is None
            worker.wait()
            place.drop(job.incoming)
            if not still:
                notes["source_throughput_loss"] += "; a copy ended before the load did"
            losses.append(1 - together / alone)
    return {"source_throughput_loss": round(statistics.median(losses), 3)}


def _pgbench(place: Ground, *words: str) -> str:
    where = ["-h", "127.0.0.1", "-p", str(place.source.port), "-U", "postgres"]
    program = [str(BIN / "pgbench"), *where, *words, "work"]
    bench = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    os.sched_setaffinity(bench.pid, {0})
    told, _ = bench.communicate()
    assert bench.returncode == 0
    return told


def _rate(place: Ground) -> float:
    told = _pgbench(place, "-c", str(CLIENTS), "-T", str(LOAD_SECONDS), "-N")
    return float(told.split("tps = ")[1].split()[0])


def _golden(folder: Path, notes: dict[str, str]) -> dict[str, object]:
    """The clone of images of several sizes, where the file system shares blocks."""
    place = Path(os.environ.get("BENCH_REFLINK", folder))
    probe = place / f"freshet-probe-{secrets.token_hex(4)}"
    probe.write_bytes(b"x" * 4096)
    words = ["cp", "--reflink=always", str(probe), f"{probe}.copy"]
    shared = subprocess.run(words, capture_output=True, check=False)
    for left in place.glob(f"{probe.name}*"):
        left.unlink()
    if shared.returncode != 0:
        notes["golden_copy_flatness"] = "the file system here shares no blocks (XFS and btrfs do)"
        return {"golden_copy_flatness": None}
    medians: dict[float, float] = {}
    clones: dict[float, float] = {}
    with ground(place / f"freshet-golden-{secrets.token_hex(4)}") as here:
        for number, size in enumerate(CLONED_GIGABYTES):
            name = f"shop{number}"
            here.fill(name, gigabytes=size)
            job = replace(here.job(name, masked=True), golden=f"{name}__golden")
            here.create(job)
            build_golden(job, Stream())
            taken: list[float] = []
            cloned: list[float] = []
            for _ in range(max(ROUNDS, 5)):
                clone = replace(job, incoming=f"shop__in_r{secrets.randbelow(10**8) + 1}a1")
                with here.admin(here.target) as admin:
                    admin.execute("CHECKPOINT")
                os.sync()
                began = time.monotonic()
                method, _ = choose(METHODS, clone)
                report = method.copy(clone, unwatched)
                taken.append(time.monotonic() - began)
                assert report.method == GoldenClone.name
                cloned.append(report.phases["clone"])
                here.drop(clone.incoming)
            medians[size] = statistics.median(taken)
            clones[size] = statistics.median(cloned)
    notes["golden_copy_flatness"] = "choosing among all methods, checking and cloning images of " + ", ".join(
        f"{size} GB: {seconds:.2f} s (the clone alone {clones[size]:.2f} s)"
        for size, seconds in medians.items()
    )
    return {
        "golden_copy_flatness": round(max(medians.values()) / min(medians.values()), 2),
        "golden_clone_s": {str(size): round(seconds, 3) for size, seconds in clones.items()},
    }
