"""A refresh from a golden image on a file system that shares no blocks: the server copies the image's files.

Environment: BENCH_GOLDEN_GB (default 2) and BENCH_GOLDEN_COPIED_ROUNDS (default 3).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.golden import measure
from infra.stack.cloning import can_clone

ROUNDS = int(os.environ.get("BENCH_GOLDEN_COPIED_ROUNDS", "3"))
FIGURES = ("golden_run_s", "golden_queue_to_completed_s", "golden_queue_to_completed_max_s", "golden_steps_s")
"""Of the figures of `golden`: those that the file system decides."""


def figures() -> dict[str, object]:
    """Measure in the temporary folder; nothing where its file system shares blocks."""
    place = Path(tempfile.gettempdir())
    if can_clone(place):
        note = f"the file system of {place} shares blocks; TMPDIR names another one"
        return {**{_name(figure): None for figure in FIGURES}, "notes": {_name(FIGURES[0]): note}}
    found = measure(place, rounds=ROUNDS)
    notes = found["notes"]
    assert isinstance(notes, dict)
    return {
        **{_name(figure): found[figure] for figure in FIGURES},
        "notes": {_name(FIGURES[0]): notes[FIGURES[0]]},
    }


def _name(figure: str) -> str:
    return figure.replace("golden_", "golden_copied_", 1)
