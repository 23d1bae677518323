"""The snapshot that is a database beside the site's own, copied by the server itself.

Invariant: as `infra.postgres.snapshot`, which does the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from infra.postgres import snapshot
from infra.postgres.snapshot_kind import Admin, Demand, Kind, Sessions
from policy.names import DatabaseName, RunId

LOGGED_BELOW = 64 * 2**20
"""Smaller databases are copied through the log, which costs no checkpoint: a busy one takes long."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """The copy of one database by one run."""

    database: DatabaseName
    run: RunId
    sessions: Sessions

    @property
    def kind(self) -> Kind:
        """A template copy."""
        return Kind.TEMPLATE

    def why_not(self, demand: Demand) -> str:
        """The owner may not create databases, or the server has no room."""
        with self.sessions("postgres") as admin:
            return may_create(admin, self.database) or demand.too_large

    def is_taken(self) -> bool:
        """Whether the copy carries its tag."""
        with self.sessions("postgres") as admin:
            return snapshot.is_taken(admin, self.database, self.run)

    def take(self, *, at: datetime) -> int:
        """Copy the database.

        Raises:
            StepFailed: the copy is not one.
            Unavailable: a session keeps the database busy.
        """
        with self.sessions("postgres") as admin:
            if snapshot.is_taken(admin, self.database, self.run):
                return snapshot.prove(admin, self.database, self.run)
            small = snapshot.size(admin, self.database) < LOGGED_BELOW
            strategy = "wal_log" if small else "file_copy"
            return snapshot.take(admin, self.database, self.run, at=at, strategy=strategy)

    def prove(self) -> None:
        """Compare the copy's size with the original's.

        Raises:
            StepFailed: it is much smaller.
        """
        with self.sessions("postgres") as admin:
            snapshot.prove(admin, self.database, self.run)

    def restore(self, *, at: datetime) -> bool:
        """Rename the copy into place.

        Raises:
            NeedsHuman: neither the database nor its copy is there.
            Unavailable: a session keeps the database busy; it is as it was.
        """
        with self.sessions("postgres") as admin:
            return snapshot.restore(admin, self.database, self.run, at=at)

    def is_restored(self) -> bool:
        """Whether the copy stands in the database's place."""
        with self.sessions("postgres") as admin:
            return snapshot.is_restored(admin, self.database, self.run)

    def drop(self) -> bool:
        """Drop the copy."""
        with self.sessions("postgres") as admin:
            return snapshot.drop(admin, self.database, self.run)


def may_create(admin: Admin, database: str) -> str:
    """Why the session's role cannot make a database in the place of `database`; empty when it can."""
    row = admin.execute(
        "SELECT r.rolsuper OR (r.rolcreatedb AND pg_has_role(d.datdba, 'USAGE')), r.rolname"
        " FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = %s",
        [database],
    ).fetchone()
    if row is not None and row[0]:
        return ""
    return f"'{admin.info.user}' may not create databases, or does not own this one"
