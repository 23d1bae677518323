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

from benchmarks._copy_ground import ROUNDS, ground
from infra.postgres.golden import GoldenClone
from infra.postgres.golden_build import build_golden
from infra.postgres.methods import choose
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
