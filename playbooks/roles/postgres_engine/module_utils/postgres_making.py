"""An empty cluster that resembles another one: what initdb can be told of it, and its configuration files.

Invariant: what pg_upgrade demands to be equal is taken from the other cluster, and the version itself has
read the configuration before anything is stopped for its sake.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ansible.module_utils.postgres_programs import control, give, major_of_programs, run

EMPTY = "freshet-empty"
"""The file in a data directory that says: nothing was carried into it yet; its text is the run."""
OWN_FILES = re.compile(
    r"PG_VERSION|postmaster\.(pid|opts)|backup_(label|manifest)(\.old)?|tablespace_map(\.old)?"
    r"|current_logfiles.*|(standby|recovery)\.signal|freshet-.*|.*\.log"
)
"""Files at the top of a data directory that are the cluster's own, not its configuration."""
INCLUDE = re.compile(r"\s*include_dir\s*=?\s*'([^'/]+)'")
LARGEST = 1 << 20
CHECKSUMS_BY_DEFAULT = 18


def configuration(data: Path) -> list[Path]:
    """The files in `data` that a person or a tool wrote there: settings, access, certificates."""
    files = [
        path
        for path in sorted(data.iterdir())
        if path.is_file() and not OWN_FILES.fullmatch(path.name) and path.stat().st_size <= LARGEST
    ]
    folders = {
        found.group(1)
        for path in files
        if path.suffix == ".conf"
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        for found in [INCLUDE.match(line)]
        if found
    }
    return files + [path for name in sorted(folders) for path in sorted((data / name).glob("*.conf"))]


def make_empty(
    data: Path,
    programs: Path,
    *,
    like: Path,
    like_bin: Path,
    superuser: str,
    template: list[str],
    prefix: list[str],
) -> None:
    """Make a cluster in `data`.

    Args:
        data: must not exist.
        programs: of the wanted version.
        like: the data directory to resemble.
        like_bin: the programs of its version.
        superuser: the role that made it.
        template: initdb's words for encoding and locale.
        prefix: words before each command.
    """
    facts = control(like_bin, like)
    data.mkdir(mode=0o700, parents=True)
    give(data, like)
    sums = int(facts.get("Data page checksum version", "0")) > 0
    without = ["--no-data-checksums"] if major_of_programs(programs) >= CHECKSUMS_BY_DEFAULT else []
    run(
        prefix, str(programs / "initdb"), "--pgdata", str(data), "--username", superuser,
        "--auth=reject", "--no-sync", "--no-instructions",
        f"--wal-segsize={int(facts['Bytes per WAL segment']) >> 20}",
        *(["--data-checksums"] if sums else without), *template,
    )  # fmt: skip
    for path in configuration(like):
        there = data / path.relative_to(like)
        there.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copy2(path, there)
    give(data, like)
    # A setting that the version no longer knows is told here, by name, not by a server that does not start.
    run(prefix, str(programs / "postgres"), "-C", "port", "-D", str(data))
