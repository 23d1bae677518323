"""Run benchmarks and keep their results: `python -m benchmarks refresh|upgrade|planner|year|faults|all`.

Invariant: a results file says on what machine, from which commit and when its figures were measured. Each
benchmark is a module of this package with a function `figures()` that measures and returns them; the file is
written only when all of them were measured.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TOGETHER = ("planner", "year", "refresh", "upgrade")
"""What `all` runs, as far as it is there; everything else runs by its name."""


def machine() -> str:
    """The kind of machine, without any name of it: `2 cores, 24 GiB, Debian GNU/Linux 12, Python 3.11`."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    release = platform.freedesktop_os_release()
    system = f"{release.get('NAME', platform.system())} {release.get('VERSION_ID', '')}".strip()
    python = ".".join(platform.python_version_tuple()[:2])
    return f"{cores} cores, {round(memory / 2**30)} GiB, {system}, Python {python}"


def commit() -> str:
    """The commit that is measured, with `+` when files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words],  # noqa: S607 - git of the path is meant
            cwd=HERE.parent,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")


def known() -> tuple[str, ...]:
    """The benchmarks of this package."""
    modules = (path for path in HERE.glob("[a-z]*.py") if "def figures(" in path.read_text(encoding="utf-8"))
    return tuple(sorted(path.stem for path in modules))


def run(name: str) -> Mapping[str, object]:
    """Measure `name`, write its results and return its figures."""
    began = time.monotonic()
    figures = importlib.import_module(f"benchmarks.{name}").figures()
    result = {
        "machine": machine(),
        "commit": commit(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: {time.monotonic() - began:.0f} s")
    for figure, value in figures.items():
        print(f"  {figure:36} {value}")
    return dict(figures)


def main(words: list[str]) -> int:
    """Run what is asked for; 2 when there is no such benchmark."""
    names = list(words) or ["all"]
    if names == ["all"]:
        names = [name for name in TOGETHER if name in known()]
    unknown = [name for name in names if name not in known()]
    if unknown:
        print(f"no benchmark '{unknown[0]}'; there are {', '.join(known())}, and all", file=sys.stderr)
        return 2
    for name in names:
        run(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
