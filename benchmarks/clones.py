"""How long the copy step takes from golden images of several sizes, where the file system shares blocks.

Environment: BENCH_REFLINK, a folder on such a file system (default: the temporary folder, if it is one).
"""

from __future__ import annotations

import os
import secrets
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks._copy_ground import ROUNDS, Ground, ground
from infra.postgres.golden import GoldenClone
from infra.postgres.golden_build import build_golden
from infra.postgres.methods import CopyJob, choose
from infra.postgres.progress import unwatched
from infra.postgres.stream import Stream
from infra.stack.cloning import can_clone
from tasks.copy_masked import METHODS

CLONED_GIGABYTES = (0.1, 1.0, 5.0)


def figures() -> dict[str, object]:
    """Measure on two clusters of their own."""
    notes: dict[str, str] = {}
    place = Path(os.environ.get("BENCH_REFLINK", tempfile.gettempdir()))
    return {**_golden(place, notes), "notes": notes}


def _golden(place: Path, notes: dict[str, str]) -> dict[str, object]:
    """The clone of images of several sizes, where the file system shares blocks."""
    if not can_clone(place):
        notes["golden_copy_flatness"] = "the file system here shares no blocks (XFS and btrfs do)"
        return {"golden_copy_flatness": None}
    taken: dict[float, list[float]] = {size: [] for size in CLONED_GIGABYTES}
    cloned: dict[float, list[float]] = {size: [] for size in CLONED_GIGABYTES}
    with ground(place / f"freshet-golden-{secrets.token_hex(4)}") as here:
        jobs = {size: _image(here, f"shop{number}", size) for number, size in enumerate(CLONED_GIGABYTES)}
        # One size after the other in every round, long after the images were written: a disk that is still
        # busy with the biggest would make it look slow.
        os.sync()
        for _ in range(max(ROUNDS, 7)):
            for size, job in jobs.items():
                step, clone = _clone(here, job)
                taken[size].append(step)
                cloned[size].append(clone)
    medians = {size: statistics.median(each) for size, each in taken.items()}
    clones = {size: statistics.median(each) for size, each in cloned.items()}
    notes["golden_copy_flatness"] = "choosing among all methods, checking and cloning images of " + ", ".join(
        f"{size} GB: {seconds:.2f} s (the clone alone {clones[size]:.2f} s)"
        for size, seconds in medians.items()
    )
    return {
        "golden_copy_flatness": round(max(medians.values()) / min(medians.values()), 2),
        "golden_clone_s": {str(size): round(seconds, 3) for size, seconds in clones.items()},
    }


def _image(here: Ground, name: str, size: float) -> CopyJob:
    """Make a source database and its image; the job that would clone it."""
    here.fill(name, gigabytes=size)
    job = replace(here.job(name, masked=True), golden=f"{name}__golden")
    here.create(job)
    build_golden(job, Stream())
    return job


def _clone(here: Ground, job: CopyJob) -> tuple[float, float]:
    """Seconds of the whole copy step, and of the clone in it."""
    job = replace(job, incoming=f"shop__in_r{secrets.randbelow(10**8) + 1}a1")
    with here.admin(here.target) as admin:
        admin.execute("CHECKPOINT")
    os.sync()
    began = time.monotonic()
    method, _ = choose(METHODS, job)
    report = method.copy(job, unwatched)
    took = time.monotonic() - began
    assert report.method == GoldenClone.name
    here.drop(job.incoming)
    return took, report.phases["clone"]
