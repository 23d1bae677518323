"""Bring a directory's files to the disk: the big ones early, beside other work, and all of them at the end.

Masking keeps the processors busy and the disk idle. What the base backup left in memory is written meanwhile,
so that the flush at the end finds little to do.

Invariant: a directory counts as written only when neither `early` nor `flush` raised. The kernel tells of a
block that could not be written once only, so whoever hears of it must not keep it to itself.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from os import defpath
from pathlib import Path

from infra.stack.unprivileged import prefix
from policy.errors import StepFailed

BIG = 4 << 20
"""Smaller files are not worth a wait for the disk each; the flush at the end takes them together."""


@contextmanager
def early(folder: Path) -> Iterator[None]:
    """Write the big files under `folder` to the disk while the body runs.

    Raises:
        StepFailed: the disk refused one.
    """
    stop = threading.Event()
    failure: list[OSError] = []

    def write() -> None:
        for path in sorted(folder.rglob("*")):
            if stop.is_set():
                return
            try:
                if path.is_file() and path.stat().st_size >= BIG:
                    _write(path)
            except FileNotFoundError:
                continue  # Written anew meanwhile under another name.
            except OSError as error:
                failure.append(error)
                return

    writer = threading.Thread(target=write, name="flush-early", daemon=True)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()
    if failure:
        raise StepFailed(f"writing {folder.name} to the disk failed: {failure[0].strerror}")


def flush(data: Path, programs: Path) -> None:
    """Bring everything of the cluster in `data`, which does not run, to the disk.

    Raises:
        StepFailed: a file could not be written.
    """
    done = subprocess.run(
        [*prefix(), str(programs / "initdb"), "--sync-only", f"--pgdata={data}"],
        capture_output=True, text=True, check=False, cwd="/", env={"LC_ALL": "C", "PATH": defpath},
    )  # fmt: skip
    if done.returncode != 0:
        raise StepFailed(f"flushing {data.name} to the disk failed: {done.stderr.strip()[:200]}")


def _write(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
