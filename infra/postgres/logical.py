"""A logical copy from its snapshot to its report: the schema, the rows, and what can only come after them.

How the rows come is the method's own; the rest is the same for all of them.

Invariant: everything comes from one snapshot, under locks that keep tables from being emptied meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg import sql

from infra.postgres import catalog
from infra.postgres.archive import GRANTS, STAYS_WITH_SOURCE, Archive, take_schema
from infra.postgres.carrier import Carrier
from infra.postgres.catalog import LARGE_OBJECTS, Table
from infra.postgres.fingerprint import fingerprint
from infra.postgres.indexes import building_settings
from infra.postgres.large_objects import bring_large_objects
from infra.postgres.methods import CopyJob, CopyReport
from infra.postgres.programs import programs_for
from infra.postgres.progress import Meter, Watch
from infra.postgres.reach import LAZY, hindrances, read_in, settle
from infra.postgres.selection import Selection, TableName
from infra.postgres.sequences import bring_sequences
from infra.postgres.session import client_environment, passfile
from infra.postgres.throttle import Governor
from policy.errors import Refused, StepFailed, Unavailable

_LATE = """
SELECT n.nspname, c.relname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND pg_has_role(c.relowner, 'USAGE')
   AND (c.relkind IN ('p', 'm')
        OR c.relkind = 'r' AND (
           c.reltuples < 0
           OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indexprs IS NOT NULL)
           OR EXISTS (SELECT FROM pg_statistic_ext x WHERE x.stxrelid = c.oid)))
"""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is known when the schema is there and the rows are to come."""

    copy: LogicalCopy
    archive: Archive
    tables: tuple[Table, ...]
    taken: Mapping[TableName, Selection]
    snapshot: str


class LogicalCopy:
    """One copy.

    Args:
        method: its name, for the report.
        job: what is copied.
        watch: told how far it is.
        stack: closes what the copy opened.
    """

    def __init__(self, method: str, job: CopyJob, watch: Watch, stack: ExitStack) -> None:
        self.method = method
        self.job = job
        self.watch = watch
        self.stack = stack
        self.stop = threading.Event()
        self.governor = Governor(job.throttle, streams=job.jobs, stop=self.stop)
        self.phases: dict[str, float] = {}
        self.notes: list[str] = []
        self.programs = Path()
        self.source = stack.enter_context(job.on_source())
        self.target = stack.enter_context(job.on_target())

    def run(self, rows: Callable[[Rows], tuple[Meter, set[int]]]) -> CopyReport:
        """Copy into the empty incoming database.

        Args:
            rows: brings the rows; returns what it counted, and the archive's entries that it restored.

        Raises:
            Refused: the selections do not cover what is there, or the schema changed since it was checked.
            StepFailed: a server refused something.
            Unavailable: a server was lost.
        """
        with self._phase("snapshot"):
            snapshot, as_of, found = self._snapshot()
        with self._phase("schema"):
            archive = self._schema(snapshot)
        large = catalog.large_objects(self.source)
        taken = self._readable(found, catalog.covered(found, self.job.selections, large=large), archive)
        with self._phase("rows and big indexes"):
            meter, restored = rows(
                Rows(copy=self, archive=archive, tables=found, taken=taken, snapshot=snapshot)
            )
        with self._phase("constraints and the rest"):
            self._rest(archive, restored, meter)
            bring_sequences(self.source, self.target)
            if LARGE_OBJECTS in taken:
                self._large_objects(archive, meter)
            self._rights(archive)
        with self._phase("statistics"):
            meter.phase = "statistics"
            self.watch(meter.look())
            self._analyse()
        if self.governor.rested:
            self.notes.append(f"streams rested {self.governor.rested:.1f} s for the source's own work")
        return CopyReport(
            method=self.method,
            tables=len(found),
            rows=meter.rows or self._estimated_rows(),
            bytes=meter.bytes,
            phases=self.phases,
            as_of=as_of,
            left_out=tuple(archive.left_out),
            notes=tuple(self.notes),
        )

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.phases[name] = time.monotonic() - began

    def _snapshot(self) -> tuple[str, datetime, tuple[Table, ...]]:
        read_in(self.source, self.job, None)
        row = self.source.execute("SELECT pg_export_snapshot(), clock_timestamp()").fetchone()
        if row is None:
            raise Unavailable(f"server '{self.job.source.name}' gave no snapshot; try again")
        found, reasons = hindrances(self.source, self.job)
        if reasons:
            raise Refused(*reasons)
        if self.job.fingerprint is not None and fingerprint(self.source) != self.job.fingerprint:
            raise Refused(
                "the source's schema changed after the protection policy was checked; "
                "check the policy again, then repeat the refresh"
            )
        self._lock(found)
        if not catalog.is_empty(self.target):
            raise StepFailed(f"database '{self.job.incoming}' is not empty; drop it and create it anew first")
        self.target.rollback()
        return row[0], row[1], found

    def _lock(self, found: tuple[Table, ...]) -> None:
        """Keep tables from being emptied or changed: TRUNCATE does not respect a snapshot."""
        try:
            for table in found:
                self.source.execute(
                    sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(table.identifier)
                )
        except psycopg.errors.LockNotAvailable:
            raise Unavailable(
                f"somebody changes the schema of '{self.job.source_database}' just now; try again later"
            ) from None

    def _schema(self, snapshot: str) -> Archive:
        job = self.job
        majors = [session.info.server_version // 10000 for session in (self.source, self.target)]
        self.programs = programs = programs_for(*majors)
        secret = self.stack.enter_context(
            passfile(
                (job.source, job.reader), (job.target, job.owner), secrets=job.secrets, scratch=job.scratch
            )
        )
        path = job.scratch / f"schema-{job.incoming}.dump"
        self.stack.callback(path.unlink, missing_ok=True)
        reading = client_environment(
            job.source, job.reader, database=job.source_database, passfile=secret, run=job.run
        )
        take_schema(path, programs=programs, environment=reading, snapshot=snapshot, stop=self.stop)
        writing = client_environment(
            job.target, job.owner, database=job.incoming, passfile=secret, run=job.run
        )
        archive = Archive(path, programs=programs, environment=writing, stop=self.stop)
        for entry in archive.entries:
            if entry.is_a(STAYS_WITH_SOURCE):
                archive.leave_out(f"{entry.title}: it holds Production's connection to others")
        wanted = [entry for entry in archive.entries if not entry.is_a((*STAYS_WITH_SOURCE, *GRANTS))]
        archive.restore(wanted, what="restoring the schema", section="pre-data", settings=LAZY)
        return archive

    def _readable(
        self, found: tuple[Table, ...], taken: Mapping[TableName, Selection], archive: Archive
    ) -> Mapping[TableName, Selection]:
        """On a replica unlogged tables have no rows: their tables arrive empty, and the report says so."""
        row = self.source.execute("SELECT pg_is_in_recovery()").fetchone()
        missing = [table.name for table in found if table.unlogged and taken[table.name].rows]
        if not (row and row[0] and missing):
            return taken
        for name in missing:
            archive.leave_out(f"rows of {name}: a replica has none of an unlogged table")
        return {**taken, **dict.fromkeys(missing, Selection(rows=False))}

    def _rest(self, archive: Archive, restored: set[int], meter: Meter) -> None:
        meter.phase = "constraints, indexes of small tables, triggers, views"
        self.watch(meter.look())
        later = (*STAYS_WITH_SOURCE, *GRANTS, "EVENT TRIGGER")
        rest = [entry for entry in archive.entries if entry.id not in restored and not entry.is_a(later)]
        settings = {**LAZY, **building_settings(self.target, self.job.jobs)}
        self.target.rollback()
        archive.restore(rest, what="restoring indexes and constraints", jobs=self.job.jobs, settings=settings)

    def _large_objects(self, archive: Archive, meter: Meter) -> None:
        settle(self.target, **LAZY)
        carrier = Carrier(self.source, self.target, passed=meter.passed, pace=self.governor, stop=self.stop)
        selection = self.job.selections[LARGE_OBJECTS]
        carried, left_out = bring_large_objects(self.source, self.target, carrier, selection)
        for what in left_out:
            archive.leave_out(what)
        self.notes.append(f"{carried.rows} pages of large objects")

    def _rights(self, archive: Archive) -> None:
        """Grants, and event triggers last, so that they watch nothing of this."""
        archive.restore_grants([entry for entry in archive.entries if entry.is_a(GRANTS)])
        triggers = [entry for entry in archive.entries if entry.is_a(("EVENT TRIGGER",))]
        archive.restore(triggers, what="restoring event triggers")

    def _estimated_rows(self) -> int:
        """Rows by the fresh statistics, for a method that does not count."""
        row = self.target.execute(
            "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
        ).fetchone()
        return int(row[0]) if row else 0

    def _analyse(self) -> None:
        """Statistics that could not be made when a table arrived; none is brought, they hold rows' values."""
        for schema, name in self.target.execute(_LATE).fetchall():
            self.target.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, name)))
        self.target.execute("SET LOCAL synchronous_commit = on")
        self.target.commit()
