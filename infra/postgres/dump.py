"""pg_dump's own way with the rows: the fallback that trusts nothing of ours, and the yardstick.

Invariant: it never applies when anything is masked or filtered, because a dump carries rows as they are and
they would stand unmasked in the target until somebody masked them.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from contextlib import ExitStack

from infra.postgres.logical import LogicalCopy, Rows
from infra.postgres.methods import CopyJob, CopyReport, Offer
from infra.postgres.programs import first_line, start
from infra.postgres.progress import Meter, Watch
from infra.postgres.reach import hindrances
from infra.postgres.server_error import telling
from infra.postgres.session import client_environment, passfile
from policy.errors import StepFailed

BYTES_PER_SECOND = 70_000_000
"""Stored bytes, indexes included; a quarter slower than the stream, see the performance guide."""

STANDING_SECONDS = 1.5
_TICK_SECONDS = 0.5


class Dump:
    """pg_dump piped into pg_restore, as a copy method."""

    name = "dump"
    creates = False

    def offer(self, job: CopyJob) -> Offer:
        """Applies when every row of every table is taken as it is."""
        if not job.plain():
            why = (
                "a dump carries rows as they are, and the protection policy masks or leaves out some of them"
            )
            return Offer(method=self.name, applies=False, why=why)
        with telling("looking at the source"), job.on_source() as source:
            found, reasons = hindrances(source, job)
        if reasons:
            return Offer(method=self.name, applies=False, why="; ".join(reasons))
        size = sum(table.bytes + table.index_bytes for table in found)
        return Offer(
            method=self.name,
            applies=True,
            why=f"{len(found)} tables of {size / 1e9:.2f} GB, all taken as they are",
            expected_s=STANDING_SECONDS + size / BYTES_PER_SECOND,
        )

    def copy(self, job: CopyJob, progress: Watch) -> CopyReport:
        """Copy into the empty incoming database.

        Raises:
            StepFailed: something is masked, or one of the programs failed.
        """
        if not job.plain():
            raise StepFailed("a dump would carry rows unmasked; choose another copy method")
        with telling(f"copying '{job.source_database}'"), ExitStack() as stack:
            return LogicalCopy(self.name, job, progress, stack).run(lambda rows: _pipe(job, rows, progress))


def _pipe(job: CopyJob, rows: Rows, watch: Watch) -> tuple[Meter, set[int]]:
    """Pipe the data section from pg_dump into pg_restore, and analyse nothing yet."""
    size = sum(table.bytes for table in rows.tables)
    meter = Meter(bytes_total=size, weight=size)
    meter.phase = "copying rows"
    programs = rows.copy.programs
    with passfile(
        (job.source, job.reader), (job.target, job.owner), secrets=job.secrets, scratch=job.scratch
    ) as secret:
        reading = client_environment(
            job.source, job.reader, database=job.source_database, passfile=secret, run=job.run
        )
        writing = client_environment(
            job.target, job.owner, database=job.incoming, passfile=secret, run=job.run
        )
        outlet, inlet = os.pipe()
        try:
            dump = start(
                programs / "pg_dump",
                *("--format=custom", "--compress=0", "--section=data", "--no-large-objects"),
                f"--snapshot={rows.snapshot}",
                environment=reading,
                stdout=inlet,
            )
            restore = start(
                programs / "pg_restore",
                *("--section=data", "--exit-on-error", f"--dbname={job.incoming}"),
                environment=writing,
                stdin=outlet,
            )
        finally:
            os.close(outlet)
            os.close(inlet)
        _both(dump, restore, rows, meter, watch)
    return meter, set()


def _both(
    dump: subprocess.Popen[bytes], restore: subprocess.Popen[bytes], rows: Rows, meter: Meter, watch: Watch
) -> None:
    """Wait for both ends of the pipe, and tell meanwhile how much has arrived."""
    said: dict[str, str] = {}

    def listen(name: str, process: subprocess.Popen[bytes]) -> None:
        _, words = process.communicate()
        said[name] = words.decode("utf-8", errors="replace")

    ends = {"pg_dump": dump, "pg_restore": restore}
    listeners = [threading.Thread(target=listen, args=end, daemon=True) for end in ends.items()]
    for listener in listeners:
        listener.start()
    target = rows.copy.target
    try:
        arrived = 0
        while any(listener.is_alive() for listener in listeners):
            time.sleep(_TICK_SECONDS)
            row = target.execute("SELECT pg_database_size(current_database())").fetchone()
            target.rollback()
            now = int(row[0]) if row else arrived
            meter.passed(max(now - arrived, 0) if arrived else 0)
            arrived = max(now, arrived)
            watch(meter.look())
    finally:
        for process in ends.values():
            if process.poll() is None:
                process.kill()
        for listener in listeners:
            listener.join()
    for name, process in ends.items():
        if process.returncode != 0:
            raise StepFailed(f"copying rows with {name} failed: {first_line(said[name])}")
