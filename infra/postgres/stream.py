"""The masked stream: many tables at once from one snapshot, indexes while others still come.

Masks are applied by the source inside COPY, so what a mask hides never leaves it. Each table arrives by
FREEZE in the transaction that empties it; the biggest go first, and a table's indexes are built as soon as it
is there, so that both servers have work to the end.

Invariant: no row passes but through its table's selection.
"""

from __future__ import annotations

from contextlib import ExitStack

from infra.postgres.logical import LogicalCopy, Rows
from infra.postgres.methods import CopyJob, CopyReport, Offer
from infra.postgres.progress import Meter, Watch
from infra.postgres.reach import hindrances
from infra.postgres.rows import RowWork
from infra.postgres.server_error import telling

BYTES_PER_SECOND = 90_000_000
"""Stored bytes, indexes included, that two busy cores copy in a second; see the performance guide."""

STANDING_SECONDS = 1.0
"""What a copy of an empty database takes."""


class Stream:
    """The masked stream, as a copy method."""

    name = "stream"
    creates = False

    def offer(self, job: CopyJob) -> Offer:
        """Applies wherever the reader sees every row that is wanted."""
        with telling("looking at the source"), job.on_source() as source:
            found, reasons = hindrances(source, job)
        if reasons:
            return Offer(method=self.name, applies=False, why="; ".join(reasons))
        size = sum(table.bytes + table.index_bytes for table in found)
        return Offer(
            method=self.name,
            applies=True,
            why=f"{len(found)} tables of {size / 1e9:.2f} GB, masked by the source on the way",
            expected_s=STANDING_SECONDS + size / BYTES_PER_SECOND,
        )

    def copy(self, job: CopyJob, progress: Watch) -> CopyReport:
        """Copy into the empty incoming database."""

        def stream(rows: Rows) -> tuple[Meter, set[int]]:
            copy = rows.copy
            work = RowWork(
                job,
                source=copy.source,
                tables=rows.tables,
                taken=rows.taken,
                snapshot=rows.snapshot,
                governor=copy.governor,
                stop=copy.stop,
            )
            counted = work.carry_all(rows.archive, copy.target, progress)
            copy.notes += [f"table {name} was carried in {job.jobs} ranges" for name in work.split]
            return counted

        with telling(f"copying '{job.source_database}'"), ExitStack() as stack:
            return LogicalCopy(self.name, job, progress, stack).run(stream)
