"""The snapshot that is a dump in the run's folder, for a server on which no copy can be made.

Invariant: as `infra.postgres.snapshot_dump`; it is built into a database beside the site's own, which is then
renamed into place like a template copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from infra.postgres import snapshot
from infra.postgres.backends import end_sessions
from infra.postgres.snapshot_dump import Dump
from infra.postgres.snapshot_kind import Demand, Kind, Sessions
from infra.postgres.snapshot_template import may_create


@dataclass(frozen=True, kw_only=True)
class DumpedFiles:
    """The dump of one database by one run."""

    dump: Dump
    sessions: Sessions

    @property
    def kind(self) -> Kind:
        """A dump in a folder."""
        return Kind.DUMP

    def why_not(self, demand: Demand) -> str:  # noqa: ARG002 - its size does not matter, it lies elsewhere
        """It too is put back by way of a new database, which the owner must be allowed to create."""
        with self.sessions("postgres") as admin:
            return may_create(admin, self.dump.database)

    def is_taken(self) -> bool:
        """Whether the folder has its final name."""
        return self.dump.is_taken()

    def take(self, *, at: datetime) -> int:
        """Write the files, and read them once to their end.

        Raises:
            StepFailed: the dump failed, or is not whole.
        """
        database = self.dump.database
        if self.dump.is_taken():
            return self.dump.bytes
        with self.sessions("postgres") as admin:
            end_sessions(admin, [database], wait_ms=snapshot.PATIENCE_MS)
            with self.sessions(database) as session:
                return self.dump.take(admin, session, at=at)

    def prove(self) -> None:
        """Read the files once more.

        Raises:
            StepFailed: they cannot be read to their end.
        """
        with self.sessions("postgres") as admin:
            self.dump.read(admin)

    def restore(self, *, at: datetime) -> bool:
        """Build a database from the files and rename it into place.

        Raises:
            NeedsHuman: it cannot be built; the site's own database was not touched.
            Unavailable: a session keeps the database busy; it is as it was.
        """
        database, run = self.dump.database, self.dump.run
        with self.sessions("postgres") as admin:
            built = snapshot.is_taken(admin, database, run)
            if not built and self.dump.is_taken() and not snapshot.is_restored(admin, database, run):
                self.dump.build(admin, at=at)
            return snapshot.restore(admin, database, run, at=at)

    def is_restored(self) -> bool:
        """Whether what was built stands in the database's place."""
        with self.sessions("postgres") as admin:
            return snapshot.is_restored(admin, self.dump.database, self.dump.run)

    def drop(self) -> bool:
        """Remove the files."""
        return self.dump.forget()
