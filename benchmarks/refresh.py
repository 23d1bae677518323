"""Everything about refreshes: `make bench BENCH=refresh`.

What was measured at this very commit already is taken from its file, so that parts may be measured one by
one (`python -m benchmarks copies`); everything else is measured now. What cannot be measured on a machine is
None, and `notes` says why.
"""

from __future__ import annotations

import json

from benchmarks.__main__ import RESULTS, commit, run

PARTS = ("copies", "source_load", "clones", "swap", "golden", "golden_copied")


def figures() -> dict[str, object]:
    """Measure everything that this machine can."""
    found: dict[str, object] = {}
    notes: dict[str, str] = {}
    for part in PARTS:
        measured = dict(_part(part))
        told = measured.pop("notes", {})
        notes |= told if isinstance(told, dict) else {}
        found |= measured
    return {**found, "notes": notes}


def _part(part: str) -> dict[str, object]:
    path = RESULTS / f"{part}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if kept.get("commit") == commit() and not commit().endswith("+"):
        figures: dict[str, object] = kept["figures"]
        return figures
    return dict(run(part))
