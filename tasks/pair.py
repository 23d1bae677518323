"""The two ends of a refresh: the Source that is read, the Target that is replaced, the policy between them.

Invariant: a session that can write stands on the target's own server and has just proven it (`guard`); a
session on the source belongs to the reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from pydantic import SecretStr

from infra.postgres.fences import guard
from infra.postgres.methods import CopyJob
from infra.postgres.selection import Selections
from infra.postgres.session import connect
from infra.protection_file import load_protection
from policy.errors import Refused
from policy.estate import Source, Target
from policy.names import SecretName, golden_name, incoming_name
from policy.protection import Protection
from tasks.step import Work

SHORTEST_KEY = 16
"""Characters of a masking key; `freshet up` makes keys of 64."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A refresh's two ends, for one run."""

    work: Work
    source: Source
    target: Target

    @property
    def incoming(self) -> str:
        """The name of the database that the run builds."""
        return incoming_name(self.target.site.database, self.work.run)

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
            golden=golden_name(self.source.site.database),
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
    return Pair(work=work, source=work.estate.source(site.customer), target=work.estate.target(site))
