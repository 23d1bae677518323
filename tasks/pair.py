"""The two ends of a refresh: the Source that is read, the Target that is replaced, the policy between them.

Invariant: a session that can write stands on the target's own server and has just proven it (`guard`); a
session on the source belongs to the reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg
from pydantic import SecretStr

from infra.ledger.connection import Ledger
from infra.postgres.fences import guard
from infra.postgres.golden_image import proof_word
from infra.postgres.methods import CopyJob, Throttle
from infra.postgres.neutralise import Places
from infra.postgres.selection import Selections
from infra.postgres.session import connect
from infra.postgres.tag import read_tag
from infra.protection_file import load_protection
from infra.secrets import SecretFiles
from infra.settings import Settings
from policy.errors import Refused
from policy.estate import Estate, Source, Target
from policy.names import SecretName, golden_name, incoming_name
from policy.protection import Protection
from tasks.releases import installed_version
from tasks.step import Work

SHORTEST_KEY = 16
"""Characters of a masking key; `freshet up` makes keys of 64."""


class Hand(Protocol):
    """Who works at the two ends: a run, or the builder of a golden image."""

    @property
    def run(self) -> str:
        """Whose sessions these are."""
        ...

    estate: Estate
    settings: Settings
    secrets: SecretFiles
    scratch: Path

    def prove(self) -> None:
        """Prove the right to act; see `tasks.step.Work`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A refresh's two ends.

    Attributes:
        incoming: the name of the database that is built.
    """

    work: Hand
    source: Source
    target: Target
    incoming: str

    def protection(self) -> Protection:
        """The protection policy of the application, read anew.

        Raises:
            Refused: there is none, or it has mistakes.
        """
        return load_protection(self.work.estate.webapp(self.target.site.id).application)

    def key(self) -> SecretStr:
        """The customer's masking key.

        Raises:
            Refused: it is too short to hide anything.
            Unavailable: its file cannot be read.
        """
        name = SecretName(f"mask-{self.target.site.id.customer}")
        key = self.work.secrets.read(name)
        if len(key.get_secret_value()) < SHORTEST_KEY:
            raise Refused(f"secret '{name}': a masking key has at least {SHORTEST_KEY} characters")
        return key

    def proof(self) -> str:
        """The word under which a golden image must have been proven to be cloned for this target."""
        webapp = self.work.estate.webapp(self.source.site.id)
        settings = self.work.settings
        release = installed_version(Ledger(settings.ledger, settings.ledger_passfile), webapp)
        return proof_word(self.protection(), Places.of(self.source.site, self.target.site), release)

    def throttle(self) -> Throttle:
        """How much of Production's server a copy may take."""
        server = self.source.server
        limit = server.most_mb_per_s
        return Throttle(
            busy_share=server.busy_share / 100, bytes_per_s=None if limit is None else limit * 1_000_000
        )

    def job(self, taken: Selections, fingerprint: str) -> CopyJob:
        """The copy that the run needs.

        Args:
            taken: what of each table is taken.
            fingerprint: of the schema that `taken` was made for.
        """
        reader = self.source.server.reader
        if reader is None:
            raise Refused(f"database server '{self.source.server.name}': declare a reader login")
        return CopyJob(
            source=self.source.server,
            source_database=self.source.site.database,
            reader=reader,
            target=self.target.server,
            incoming=self.incoming,
            owner=self.target.server.owner,
            secrets=self.work.secrets,
            selections=taken,
            key=self.key(),
            run=self.work.run,
            scratch=self.work.scratch,
            throttle=self.throttle(),
            golden=golden_name(self.target.site.database),
            golden_max_age=self.work.estate.golden_oldest,
            proof=self.proof(),
            fingerprint=fingerprint,
            prove=self.work.prove,
        )

    @contextmanager
    def on_source(self) -> Iterator[psycopg.Connection]:
        """A session in Production's database, as the reader."""
        reader = self.source.server.reader
        if reader is None:
            raise Refused(f"database server '{self.source.server.name}': declare a reader login")
        with connect(
            self.source.server, self.source.site.database, reader, self.work.secrets, run=self.work.run
        ) as session:
            yield session

    @contextmanager
    def on_target(self, database: str | None = None) -> Iterator[psycopg.Connection]:
        """A session in the target's database (or another one on its server), as the owner."""
        with self._open(database or self.target.site.database, autocommit=False) as session:
            yield session

    @contextmanager
    def on_incoming(self) -> Iterator[psycopg.Connection]:
        """A session in the incoming database, as its owner."""
        with self._open(self.incoming, autocommit=False) as session:
            yield session

    def on_server(self) -> psycopg.Connection:
        """An autocommit session in `postgres` on the target's server, for statements about databases."""
        return self._open("postgres", autocommit=True)

    def _open(self, database: str, *, autocommit: bool) -> psycopg.Connection:
        server = self.target.server
        session = connect(
            server, database, server.owner, self.work.secrets, run=self.work.run, autocommit=autocommit
        )
        try:
            guard(session, self.target)
            # After the session was opened: a worker that was frozen before it is refused here, and one that
            # is frozen after it finds its session ended.
            self.work.prove()
            if not autocommit:
                session.rollback()
        except BaseException:
            session.close()
            raise
        return session


def pair(work: Work) -> Pair:
    """The two ends of the refresh that `work` carries out.

    Raises:
        Refused: the site is Production, or its Production cannot be read from.
    """
    site = work.request.site
    target = work.estate.target(site)
    return Pair(
        work=work,
        source=work.estate.source(site.customer),
        target=target,
        incoming=incoming_name(target.site.database, work.run),
    )


def proven_clone(ends: Pair) -> bool:
    """Whether the incoming database is a clone of an image that was proven under what holds now."""
    with ends.on_server() as server:
        tag = read_tag(server, ends.incoming)
    return tag is not None and tag.proven == ends.proof()
