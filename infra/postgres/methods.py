"""The ladder of copy methods: what a copy is asked to do, what a method offers, and which one is taken.

Invariant: the cheapest method that applies is taken, every other one has said why not, and no method builds
anything on a server that holds Production.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import psycopg
from pydantic import SecretStr

from infra.postgres.progress import Watch
from infra.postgres.selection import Selections
from infra.postgres.session import connect
from infra.secrets import SecretFiles
from policy.errors import Refused
from policy.machines import DatabaseServer, Login


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """How much of the source a copy may take.

    Attributes:
        bytes_per_s: upper bound over all streams together, or None.
        busy_sessions: from so many active sessions of others on, the source counts as busy.
        busy_share: part of the time for which streams together run while the source is busy, above 0 and at
            most 1.
        split_bytes: tables larger than this are carried in several ranges at once, where there are streams to
            spare; each range gives up FREEZE.
    """

    bytes_per_s: int | None = None
    busy_sessions: int = 2
    busy_share: float = 0.25
    split_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        too_slow = self.bytes_per_s is not None and self.bytes_per_s < 1
        if not 0 < self.busy_share <= 1 or self.busy_sessions < 1 or too_slow:
            raise Refused("throttle: busy_share lies above 0 and up to 1, the other figures above 0")


def unquestioned() -> None:
    """Asks nobody: the copy is not a run's."""


@dataclass(frozen=True, kw_only=True)
class CopyJob:
    """One database to copy.

    Attributes:
        reader: the source's role that can only read.
        incoming: name of the database being built: empty, closed to others and owned by `owner` when
            `copy` begins, or absent where the method says `creates`.
        key: the masking key; set in each source session by a bound parameter.
        run: whose sessions these are.
        scratch: the run's folder, mode 700; what a method leaves there it removes.
        jobs: how many tables or indexes are worked on at once.
        golden: name of the masked image on the target server, or None if none is kept.
        golden_max_age: an image whose data are older is not used.
        proof: the word under which an image must have been neutralised and proven
            (`golden_image.proof_word`); empty where nobody asks for that.
        fingerprint: of the source's schema when the protection policy was checked (`catalog.fingerprint`);
            a copy of a schema that has changed since is refused. None when nothing was checked.
        dedicated: where the data directory of a dedicated server is to be built, for the physical method.
        active_limit: preflight refuses a source with more active sessions than this.
        spare_bytes: free bytes on the target's disk as its owner knows them, or None if nobody told.
        prove: called in each session on the target before anything is done there; raises when the right to
            act was lost meanwhile.
    """

    source: DatabaseServer
    source_database: str
    reader: Login
    target: DatabaseServer
    incoming: str
    owner: Login
    secrets: SecretFiles
    selections: Selections
    key: SecretStr
    run: str
    scratch: Path
    jobs: int = 2
    throttle: Throttle = field(default_factory=Throttle)
    golden: str | None = None
    golden_max_age: timedelta = timedelta(days=7)
    proof: str = ""
    fingerprint: str | None = None
    dedicated: Path | None = None
    active_limit: int = 50
    spare_bytes: int | None = None
    prove: Callable[[], None] = unquestioned

    def __post_init__(self) -> None:
        if self.target.production:
            raise Refused(f"server '{self.target.name}' holds Production: no copy is built there")

    def on_source(self, *, replication: bool = False) -> psycopg.Connection:
        """A session in the source database, as the reader."""
        name, login = self.source_database, self.reader
        return connect(
            self.source,
            name,
            login,
            self.secrets,
            run=self.run,
            autocommit=replication,
            replication=replication,
        )

    def on_target(self, database: str | None = None, *, autocommit: bool = False) -> psycopg.Connection:
        """A session on the target, as the owner; in the incoming database unless another is named."""
        session = connect(
            self.target,
            database or self.incoming,
            self.owner,
            self.secrets,
            run=self.run,
            autocommit=autocommit,
        )
        try:
            self.prove()
        except BaseException:
            session.close()
            raise
        return session

    def policy_hash(self) -> str:
        """What is taken and how, key included, as one hash: another policy or key, another hash."""
        digest = hmac.new(self.key.get_secret_value().encode(), digestmod=hashlib.sha256)
        for name, selection in sorted(self.selections.items()):
            columns = {column: mask.as_string() for column, mask in sorted(selection.columns.items())}
            where = selection.where.as_string() if selection.where else None
            digest.update(repr((name.schema, name.table, selection.rows, columns, where)).encode())
        return digest.hexdigest()

    def plain(self) -> bool:
        """Whether everything is taken as it is: nothing masked, filtered or left empty."""
        return all(
            selection.rows and not selection.columns and selection.where is None
            for selection in self.selections.values()
        )


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A method's answer for one job.

    Attributes:
        why: one plain sentence, whether it applies or not.
        expected_s: seconds it should take; meaningless when it does not apply.
    """

    method: str
    applies: bool
    why: str
    expected_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CopyReport:
    """What a copy did.

    Attributes:
        bytes: data bytes that passed (stored bytes, where nothing passed).
        phases: seconds by phase.
        as_of: the source's time of the data.
        left_out: what did not arrive although pg_dump would bring it, one sentence each.
        notes: how it was done, one sentence each.
        proven: the word under which the copied image was neutralised and proven; empty for every other copy.
    """

    method: str
    tables: int
    rows: int
    bytes: int
    phases: Mapping[str, float]
    as_of: datetime
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    proven: str = ""

    @property
    def seconds(self) -> float:
        """The whole copy."""
        return sum(self.phases.values())

    def facts(self) -> dict[str, object]:
        """For the journal: JSON values."""
        return {
            "method": self.method,
            "tables": self.tables,
            "rows": self.rows,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
            "as_of": self.as_of.isoformat(),
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }


class CopyMethod(Protocol):
    """One way to copy a database."""

    name: str
    creates: bool
    """Whether it makes the incoming database itself, closed to others."""

    def offer(self, job: CopyJob) -> Offer:
        """Whether it applies to `job`, why, and how long it should take. Changes nothing.

        Raises:
            Unavailable: a server does not answer.
        """
        ...

    def copy(self, job: CopyJob, progress: Watch) -> CopyReport:
        """Copy; may be called again after it failed or was killed.

        Raises:
            Refused: the selections do not cover what is there, or the schema changed since it was checked.
            StepFailed: a server refused something; the message says what.
            Unavailable: a server was lost.
        """
        ...


def choose(methods: Sequence[CopyMethod], job: CopyJob) -> tuple[CopyMethod, tuple[Offer, ...]]:
    """The cheapest method that applies, and every method's answer in the order given.

    Raises:
        Refused: none applies; the findings are the reasons.
        Unavailable: a server does not answer.
    """
    offers = tuple(method.offer(job) for method in methods)
    fitting = [
        (offer.expected_s, place, method)
        for place, (method, offer) in enumerate(zip(methods, offers, strict=True))
        if offer.applies
    ]
    if not fitting:
        raise Refused(*(f"copy method {offer.method} does not apply: {offer.why}" for offer in offers))
    return min(fitting)[2], offers
