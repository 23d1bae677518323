"""The snapshot that is a copy of a whole server's files, for a server that one web application has to itself.

Taken with the server stopped, so that the copy needs no recovery; put back by a rename of directories. What
happens on the host is the role `postgres_snapshot`'s.

Invariant: a copy has its final name exactly when it is whole and was read; whatever was cut off where, the
next call of the same function finishes it, and the server runs again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from infra.ansible import StageResult
from infra.postgres.cluster_file import FILE, ServerFiles
from infra.postgres.dedicated import followed_by, shared_with
from infra.postgres.snapshot_kind import Admin, Demand, Kind, Sessions
from policy.errors import NeedsHuman, StepFailed, Unavailable
from policy.names import DatabaseName

PATIENCE_S = 60.0
"""So long a server that was started may take until it lets somebody in."""


@dataclass(frozen=True, kw_only=True)
class Physical:
    """The copy of one server by one run.

    Attributes:
        files: where the server's files lie.
        databases: those of the web application on it.
        play: carries out stages of the role on the server's host.
    """

    files: ServerFiles
    databases: tuple[DatabaseName, ...]
    sessions: Sessions
    play: Callable[[str], StageResult]

    @property
    def kind(self) -> Kind:
        """A copy of the data directory."""
        return Kind.PHYSICAL

    def why_not(self, demand: Demand) -> str:
        """The server is shared, something follows its log, or its files are not where they should be.

        Raises:
            Unavailable: the server or its host does not answer.
        """
        with self.sessions("postgres") as admin:
            reason = shared_with(admin, self.databases) or followed_by(admin)
            if reason:
                return reason
            identifier = _identifier(admin)
        try:
            seen = self.play("look")
        except StepFailed as failed:
            return f"its files cannot be looked at: {failed}"
        findings = seen.fact("findings")
        if isinstance(findings, list) and findings:
            return "; ".join(str(finding) for finding in findings)
        if str(seen.fact("system_identifier")) != identifier:
            place = f"{self.files.place.data} on {self.files.host.name}"
            return f"{place} holds another server than port {self.files.server.port}; mend {FILE}"
        if demand.wanted is None and not seen.fact("shares_blocks"):
            return demand.too_large
        return ""

    def is_taken(self) -> bool:
        """Whether the copy has its final name."""
        return bool(self.play("look").fact("taken"))

    def take(self, *, at: datetime) -> int:  # noqa: ARG002 - its files carry their times
        """Stop the server, copy its files, read the copy, start the server.

        Raises:
            StepFailed: the copy failed, or is not one.
            Unavailable: the host was not reached, or the server does not come back.
        """
        size = int(str(self.play("take").fact("bytes")))
        self._wait()
        return size

    def prove(self) -> None:
        """Read the copy once more.

        Raises:
            StepFailed: it is not whole.
        """
        self.play("prove")

    def restore(self, *, at: datetime) -> bool:  # noqa: ARG002 - its files carry their times
        """Stop the server, set its files aside, rename the copy into place, start the server.

        Raises:
            NeedsHuman: it cannot be put into place, or another server answers afterwards.
            Unavailable: the host was not reached, or the server does not come back.
        """
        try:
            done = self.play("put_back")
        except StepFailed as failed:
            raise NeedsHuman(f"server '{self.files.server.name}': {failed}") from failed
        known = done.fact("system_identifier")
        if self._wait() != str(known):
            raise NeedsHuman(
                f"server '{self.files.server.name}': another server answers on port {self.files.server.port} "
                f"after the put-back; look which servers run on {self.files.host.name}"
            )
        return bool(done.fact("exchanged"))

    def is_restored(self) -> bool:
        """Whether the copy stands in place, with what the run made beside it."""
        return bool(self.play("look").fact("restored"))

    def drop(self) -> bool:
        """Remove the copy, or what there is of it; the server runs afterwards."""
        return self.play("drop").changed > 0

    def bring_up(self) -> None:
        """Let the server run, if a worker died while it was stopped.

        Raises:
            Unavailable: the host was not reached, or the server does not come back.
        """
        if self.play("serve").changed:
            self._wait()

    def clear(self) -> Sequence[str]:
        """Remove the copy, and what was set aside when it was put back."""
        if not self.play("clear").changed:
            return ()
        return (f"removed the snapshot of server {self.files.server.name} on {self.files.host.name}",)

    def _wait(self) -> str:
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self.sessions("postgres") as admin:
                    return _identifier(admin)
            except Unavailable:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.2)


def _identifier(admin: Admin) -> str:
    row = admin.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    return "" if row is None else str(row[0])
