"""One stream copy in a process of its own, so that its memory can be told from the benchmark's."""

from __future__ import annotations

import pickle
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from infra.postgres.methods import CopyJob, CopyReport
from infra.postgres.progress import unwatched
from infra.postgres.stream import Stream


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """What the process measured of itself."""

    report: CopyReport
    seconds: float
    rss_mb: float
    cpu_s: float


def stream(job: CopyJob) -> Streamed:
    """Copy in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "job", Path(folder) / "answer"
        asked.write_bytes(pickle.dumps(job))
        subprocess.run(command(asked, answered), check=True)
        found = pickle.loads(answered.read_bytes())  # noqa: S301 - written just now
        assert isinstance(found, Streamed)
        return found


_PROGRAM = """
import pathlib, sys
from benchmarks._copy_worker import main
main(*map(pathlib.Path, sys.argv[1:]))
"""


def command(asked: Path, answered: Path) -> list[str]:
    """The command line of a worker for the job in the file `asked`."""
    return [sys.executable, "-c", _PROGRAM, str(asked), str(answered)]


def main(asked: Path, answered: Path) -> None:
    """Copy the job in one file and write what was measured into the other."""
    job = pickle.loads(asked.read_bytes())  # noqa: S301 - written by `stream`
    began = time.monotonic()
    report = Stream().copy(job, unwatched)
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    measured = Streamed(
        report=report, seconds=seconds, rss_mb=used.ru_maxrss / 1024, cpu_s=used.ru_utime + used.ru_stime
    )
    answered.write_bytes(pickle.dumps(measured))
