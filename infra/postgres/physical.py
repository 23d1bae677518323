"""A physical copy for a dedicated server: a base backup, masked in private, handed over as a directory.

Where the target server is the copy's own, nothing need be copied row by row: Production's files are taken as
they are, only the tables that hold personal data are written anew, and what was never to leave Production
(other databases, password hashes, subscriptions, its identity) is taken out.

Invariant: the directory gets its final name only when all of that is done and its cluster is stopped; until
then there is no way in but a socket in a folder of mode 700.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import psycopg

from infra.postgres import catalog
from infra.postgres.base_backup import PORT, BaseBackup
from infra.postgres.catalog import Table
from infra.postgres.departure import strip, take_over
from infra.postgres.fingerprint import fingerprint
from infra.postgres.flush import early, flush
from infra.postgres.golden_build import build_golden
from infra.postgres.identity import renew_identity
from infra.postgres.methods import CopyJob, CopyReport, Offer
from infra.postgres.programs import programs_for
from infra.postgres.progress import Meter, Watch
from infra.postgres.reach import hindrances
from infra.postgres.rewrite import changed, rewrite_all
from infra.postgres.selection import Selection
from infra.postgres.server_error import telling
from infra.postgres.stream import Stream
from infra.stack.cluster import PostgresVersion
from policy.errors import Refused, Unavailable
from policy.machines import Login

BACKUP_BYTES_PER_SECOND = 400_000_000
MASKED_BYTES_PER_SECOND = 30_000_000
STANDING_SECONDS = 3.0
_SPACE = 1.3
"""Room for the cluster and for its biggest masked tables a second time."""

_SOURCE = """
SELECT r.rolreplication OR r.rolsuper,
       (SELECT rolname FROM pg_roles WHERE oid = 10),
       (SELECT count(*) FROM pg_tablespace) > 2,
       (SELECT sum(pg_database_size(oid)) FROM pg_database WHERE has_database_privilege(oid, 'CONNECT')
            OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'))::bigint,
       current_setting('max_prepared_transactions')::int,
       clock_timestamp()
  FROM pg_roles r WHERE r.rolname = current_user
"""


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What the source says of itself."""

    superuser: str
    major: int
    bytes: int
    prepared: int
    as_of: datetime


class Physical:
    """A base backup masked in private, as a copy method."""

    name = "physical"
    creates = True

    @telling("looking at the source")
    def offer(self, job: CopyJob) -> Offer:
        """Applies to a dedicated server whose data directory this machine can build."""
        if job.dedicated is None:
            why = "the target server is not dedicated to this one database"
            return Offer(method=self.name, applies=False, why=why)
        with job.on_source() as source:
            found, facts, reasons = _judge(source, job)
        room = shutil.disk_usage(job.dedicated.parent).free
        if room < facts.bytes * _SPACE:
            reasons.append(
                f"{room / 1e9:.1f} GB are free beside the server's directory, "
                f"{facts.bytes * _SPACE / 1e9:.1f} GB are needed"
            )
        if reasons:
            return Offer(method=self.name, applies=False, why="; ".join(reasons))
        masked = sum(table.bytes + table.index_bytes for table in _changed(job, found))
        return Offer(
            method=self.name,
            applies=True,
            why=f"base backup of {facts.bytes / 1e9:.2f} GB, of which {masked / 1e9:.2f} GB are masked",
            expected_s=STANDING_SECONDS
            + facts.bytes / BACKUP_BYTES_PER_SECOND
            + masked / MASKED_BYTES_PER_SECOND,
        )

    @telling("making a physical copy")
    def copy(self, job: CopyJob, progress: Watch) -> CopyReport:
        """Build the masked cluster as the directory `job.dedicated`, which must not exist; it is not started.

        Raises:
            Refused: the method does not apply, or the directory exists.
            StepFailed: a program or a statement failed; nothing is left.
            Unavailable: the source was lost, or the private cluster did not start.
        """
        if job.dedicated is None:
            raise Refused("a physical copy needs to know where the dedicated server's directory is to be")
        if job.dedicated.exists():
            raise Refused(f"{job.dedicated} exists; stop its server and move it away first")
        making = job.dedicated.with_name(f"{job.dedicated.name}.{job.incoming}.making")
        phases: dict[str, float] = {}
        with _private(job, making, progress, phases, keep=True) as private:
            began = time.monotonic()
            take_over(private.backup.session, job, private.backup.superuser)
            private.backup.stop()
            renew_identity(making, private.programs)
            flush(making, private.programs)
            making.rename(job.dedicated)
            phases["hand over"] = time.monotonic() - began
        return CopyReport(
            method=self.name,
            tables=len(private.tables),
            rows=private.rows,
            bytes=private.facts.bytes,
            phases=phases,
            as_of=private.facts.as_of,
            notes=(f"{private.rewritten / 1e9:.2f} GB were masked", f"built as {job.dedicated.name}"),
        )


@telling("building the golden image")
def golden_from_physical(job: CopyJob, place: Path, progress: Watch) -> CopyReport:
    """Build the golden image from a private masked base backup: Production only sends its files.

    Args:
        job: as for `build_golden`.
        place: where the private cluster may stand meanwhile; must not exist.
        progress: told how far it is.
    """
    phases: dict[str, float] = {}
    with _private(job, place, progress, phases, keep=False) as private:
        backup = private.backup
        server = replace(job.source, host=str(backup.sockets), port=PORT)
        # The folder is the proof of identity there; the password that is sent is not asked for.
        reader = Login(user=backup.superuser, secret=job.reader.secret)
        masked = {name: Selection(rows=selection.rows) for name, selection in job.selections.items()}
        inner = replace(job, source=server, reader=reader, selections=masked, fingerprint=None)
        report = build_golden(inner, Stream(), progress, asked=replace(job, fingerprint=private.schema))
    return replace(report, method="physical", as_of=private.facts.as_of, phases={**phases, **report.phases})


@dataclass(kw_only=True)
class _Private:
    """A masked cluster that nobody else can reach."""

    backup: BaseBackup
    programs: Path
    facts: _Facts
    tables: tuple[Table, ...]
    schema: str
    rewritten: int = 0
    rows: int = 0


@contextmanager
def _private(
    job: CopyJob, data: Path, watch: Watch, phases: dict[str, float], *, keep: bool
) -> Iterator[_Private]:
    """A masked base backup in `data`, running; gone afterwards unless all went well and `keep` is set."""
    with job.on_source() as source:
        _, facts, reasons = _judge(source, job)
    if reasons:
        raise Refused(*reasons)
    programs = programs_for(facts.major)
    backup = BaseBackup(job, data=data, major=facts.major, superuser=facts.superuser, prepared=facts.prepared)
    well = False
    try:
        backup.clear()
        meter = Meter(bytes_total=facts.bytes, weight=facts.bytes)
        meter.phase = "base backup"
        began = time.monotonic()
        backup.take(programs, meter, watch)
        phases["base backup"] = time.monotonic() - began
        began = time.monotonic()
        backup.start()
        strip(backup.session, job.source_database)
        with early(data):
            private = _mask(job, backup, programs, facts, watch)
        phases["masking"] = time.monotonic() - began
        yield private
        well = True
    finally:
        backup.close(keep=keep and well)


def _mask(job: CopyJob, backup: BaseBackup, programs: Path, facts: _Facts, watch: Watch) -> _Private:
    with backup.session(job.source_database) as session:
        found = catalog.tables(session)
        taken = catalog.covered(found, job.selections, large=catalog.large_objects(session))
        schema = fingerprint(session)
    if job.fingerprint is not None and schema != job.fingerprint:
        raise Refused(
            "the source's schema changed after the protection policy was checked; "
            "check the policy again, then repeat the refresh"
        )
    rewritten = rewrite_all(job, lambda: backup.session(job.source_database), found, taken, watch)
    return _Private(
        backup=backup,
        programs=programs,
        facts=facts,
        tables=found,
        schema=schema,
        rewritten=rewritten,
        rows=sum(table.rows for table in found),
    )


def _judge(source: psycopg.Connection, job: CopyJob) -> tuple[tuple[Table, ...], _Facts, list[str]]:
    """The source's tables and facts, and every reason why no base backup can be taken or masked."""
    row = source.execute(_SOURCE).fetchone()
    if row is None:
        raise Unavailable(f"server '{job.source.name}' does not tell the rights of '{job.reader.user}'")
    may_replicate, superuser, tablespaces, size, prepared, as_of = row
    major = source.info.server_version // 10000
    found, told = hindrances(source, job)
    reasons = list(told)
    if not may_replicate:
        reasons.append(f"'{job.reader.user}' has no replication right, which a base backup needs")
    else:
        try:
            job.on_source(replication=True).close()
        except Unavailable as closed:
            reasons.append(str(closed))
    if tablespaces:
        reasons.append("the source has tablespaces of its own, whose places cannot be kept")
    if major not in set(PostgresVersion):
        reasons.append(f"no server programs of PostgreSQL {major} are installed here")
    moving = [
        str(table.name)
        for table in _changed(job, found)
        if (selection := table.selection(job.selections))
        and (table.key_columns & set(selection.columns) or ("" in table.key_columns and selection.columns))
    ]
    if moving:
        reasons.append(f"masks of {moving[0]} could move its rows to other partitions")
    facts = _Facts(superuser=superuser, major=major, bytes=int(size or 0), prepared=prepared, as_of=as_of)
    return found, facts, reasons


def _changed(job: CopyJob, found: tuple[Table, ...]) -> list[Table]:
    taken = {
        table.name: selection for table in found if (selection := table.selection(job.selections)) is not None
    }
    return changed([table for table in found if table.name in taken], taken)
