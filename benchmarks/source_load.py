"""What the source's own work loses while a copy is streamed from it under the default throttle.

The source has one core and a load that fills it, the target and the worker have another.

Environment: BENCH_GB (default 1.8) and BENCH_ROUNDS (default 3).
"""

from __future__ import annotations

import os
import pickle
import statistics
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks._copy_ground import GIGABYTES, ROUNDS, SOURCE, Ground, ground
from benchmarks._copy_peers import BIN
from benchmarks._copy_worker import command

LOAD_SECONDS = 20
CLIENTS = 4


def figures() -> dict[str, object]:
    """Measure on two clusters of their own."""
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder:
        return {**_throughput(Path(folder) / "load", notes), "notes": notes}


def _throughput(folder: Path, notes: dict[str, str]) -> dict[str, object]:
    """What the source's own work loses while a copy is streamed from it under the default throttle."""
    if not {0, 1} <= os.sched_getaffinity(0):
        notes["source_throughput_loss"] = "needs two cores, to give source and target one each"
        return {"source_throughput_loss": None}
    notes["source_throughput_loss"] = (
        f"source with {CLIENTS} pgbench clients on one core, target and worker on another, two streams, "
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
