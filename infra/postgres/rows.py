"""Carries the rows of all tables with several streams, and lets each big table's indexes follow.

Invariant: a table's rows arrive in one transaction that also makes their statistics, so that a table is
either empty or whole; only a table carried in ranges is not, and it is behind a closed door like all of the
incoming database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import psycopg
from psycopg import sql

from infra.postgres.archive import Archive, Entry
from infra.postgres.carrier import Carrier
from infra.postgres.catalog import Table
from infra.postgres.foreign_keys import ForeignKeys, between
from infra.postgres.indexes import IndexWork, building_settings, index_work
from infra.postgres.loads import TableLoad, ranges, whole
from infra.postgres.methods import CopyJob
from infra.postgres.pool import Countdown, Piece, Pool
from infra.postgres.progress import Meter, Progress, Watch
from infra.postgres.reach import LAZY, read_in, settle
from infra.postgres.selection import Selection, TableName
from infra.postgres.server_error import telling
from infra.postgres.throttle import Governor

_ANALYZE = sql.SQL("ANALYZE {}")


@dataclass(frozen=True, kw_only=True)
class Hands:
    """A thread's two sessions and what carries between them."""

    source: psycopg.Connection
    target: psycopg.Connection
    carrier: Carrier

    def let_go(self) -> None:
        """Close them."""
        for session in (self.source, self.target):
            with suppress(psycopg.Error):
                session.close()


class RowWork:
    """The rows of one copy.

    Args:
        job: the copy.
        source: the session that exported `snapshot`.
        tables: every table of the source.
        taken: what of each is taken.
        snapshot: read by every stream.
        governor: paces them.
        stop: ends everything when set.
    """

    def __init__(
        self,
        job: CopyJob,
        *,
        source: psycopg.Connection,
        tables: Sequence[Table],
        taken: Mapping[TableName, Selection],
        snapshot: str,
        governor: Governor,
        stop: threading.Event,
    ) -> None:
        self.job = job
        self.source = source
        self.taken = taken
        self.snapshot = snapshot
        self.governor = governor
        self.stop = stop
        self.tables = [table for table in tables if taken[table.name].rows]
        self.split: list[TableName] = []

    def carry_all(self, archive: Archive, target: psycopg.Connection, watch: Watch) -> tuple[Meter, set[int]]:
        """Carry everything; the counts, and the archive's entries that were restored on the way.

        Raises:
            StepFailed: a server refused something.
            Unavailable: a server was lost.
        """
        work = index_work(self.source, self.tables, archive)
        size = sum(table.bytes for table in self.tables)
        meter = Meter(bytes_total=size, weight=size + sum(item.weight for item in work.values()))
        meter.phase = "copying rows"
        settings = {**LAZY, **building_settings(target, self.job.jobs)}
        target.rollback()

        def build(entries: Sequence[Entry]) -> None:
            archive.restore(entries, what="building indexes", settings=settings)

        keys = ForeignKeys(list(between(self.source, self.tables, work, archive)), build)
        pool: Pool[Hands] = Pool(
            threads=self.job.jobs, hands=lambda: self._hands(meter), let_go=Hands.let_go, stop=self.stop
        )
        pieces = [
            piece
            for table in self.tables
            for piece in self._pieces(table, work.get(table.name), build, keys, meter)
        ]
        # Before the first block: afterwards it is looked at with every report of the progress.
        self.governor.look(self.source)
        pool.run(pieces, meter=meter, watch=lambda progress: self._watched(progress, watch))
        indexes = (entry for item in work.values() for entry in item.entries())
        return meter, {entry.id for entry in (*indexes, *keys.entries)}

    def _watched(self, progress: Progress, watch: Watch) -> None:
        self.governor.look(self.source)
        watch(progress)

    def _hands(self, meter: Meter) -> Hands:
        source = self.job.on_source()
        target = self.job.on_target()
        read_in(source, self.job, self.snapshot)
        settle(target, **LAZY)
        target.commit()
        carrier = Carrier(source, target, passed=meter.passed, pace=self.governor, stop=self.stop)
        return Hands(source=source, target=target, carrier=carrier)

    def _pieces(
        self,
        table: Table,
        work: IndexWork | None,
        build: Callable[[Sequence[Entry]], None],
        keys: ForeignKeys,
        meter: Meter,
    ) -> Iterator[Piece[Hands]]:
        loads = self._loads(table)
        tail = keys.tail(table.name)
        left = Countdown(len(loads))

        def carry(load: TableLoad, hands: Hands) -> Iterable[Piece[Hands]]:
            with telling(f"copying {table.name}"):
                if load.before is not None:
                    hands.target.execute(load.before)
                carried = hands.carrier.carry(load.load)
                if load.share == 1:
                    hands.target.execute(_ANALYZE.format(table.identifier))
                hands.target.commit()
            meter.arrived(rows=carried.rows, carried=carried.bytes, weight=int(table.bytes * load.share))
            if not (left.is_last() and work):
                return ()
            return work.pieces(build, meter.finished, complete=lambda: keys.complete(table.name), tail=tail)

        for load in loads:
            yield Piece(
                path=int(table.bytes * load.share) + (work.weight + tail if work else 0),
                act=partial(carry, load),
            )

    def _loads(self, table: Table) -> list[TableLoad]:
        selection = self.taken[table.name]
        jobs = self.job.jobs
        total = sum(other.bytes for other in self.tables)
        # A stream keeps two cores busy, one on each side: ranges pay only when streams would stand idle.
        if jobs > 2 and table.bytes > self.job.throttle.split_bytes and table.bytes * jobs > total:  # noqa: PLR2004 - two keep both cores busy
            row = self.source.execute(
                "SELECT pg_relation_size(%s::oid) / current_setting('block_size')::int", [table.oid]
            ).fetchone()
            self.split.append(table.name)
            return list(ranges(table, selection, pages=row[0] if row else 0, parts=jobs))
        return [whole(table, selection)]
