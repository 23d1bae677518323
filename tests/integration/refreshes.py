"""A customer with Production on one cluster and a Sandbox on the other, ready to be refreshed."""

from __future__ import annotations

import secrets as random_words
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from infra.clock import SetClock
from infra.ledger import installed
from infra.ledger.connection import Ledger
from infra.postgres.digest import digests
from infra.postgres.marker import Marker, write_marker
from infra.postgres.selection import TableName
from infra.secrets import SecretFiles
from infra.settings import Settings
from infra.stack.cluster import Cluster
from infra.stack.roles import READER_GROUPS, DatabaseRole, establish
from policy.estate import Estate, Source, Target
from policy.machines import DatabaseServer, Login
from policy.names import (
    CustomerName,
    DatabaseName,
    Environment,
    RequestId,
    RunId,
    SecretName,
    ServerName,
    SiteId,
)
from policy.request import Kind, Status
from tests.asked import asked_for
from tests.estate_parts import customer_of, estate_of, release_of, server_of, site_of
from tests.integration.refresh_worker import Worker

LAKESIDE = CustomerName("lakeside")
PRODUCTION, SANDBOX = SiteId(LAKESIDE, Environment.PRODUCTION), SiteId(LAKESIDE, Environment.SANDBOX)
NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
LOGINS = ("live-owner", "live-reader", "trial-owner", "trial-user", "mask-lakeside")


def admin(cluster: Cluster, database: str = "postgres") -> psycopg.Connection:
    """A superuser's session."""
    return psycopg.connect(cluster.dsn(database), autocommit=True)


class Refreshes:
    """Databases, roles and an estate for one test.

    Args:
        live: holds Production.
        trial: holds the Sandbox.
        folder: for secrets and scratch files.
        ledger: knows what is installed.
    """

    def __init__(self, live: Cluster, trial: Cluster, folder: Path, ledger: Ledger) -> None:
        self.live, self.trial, self.folder, self.ledger = live, trial, folder, ledger
        self.secrets = SecretFiles(folder / "secrets")
        self.secrets.directory.mkdir(mode=0o700)
        for name in LOGINS:
            path = self.secrets.path(SecretName(name))
            path.write_text(random_words.token_hex(24) + "\n")
            path.chmod(0o600)
        word = random_words.token_hex(4)
        self.production, self.sandbox = DatabaseName(f"prod_{word}"), DatabaseName(f"sand_{word}")
        self._roles()
        for cluster, name, owner in (
            (live, self.production, "live_owner"),
            (trial, self.sandbox, "trial_owner"),
        ):
            with admin(cluster) as session:
                session.execute(
                    SQL("CREATE DATABASE {} OWNER {}").format(Identifier(name), Identifier(owner))
                )
                session.execute(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(Identifier(name)))
        with admin(live) as session:
            session.execute(
                SQL("GRANT CONNECT ON DATABASE {} TO live_reader").format(Identifier(self.production))
            )
        self.baseline: dict[TableName, str] | None = None
        self.estate = self._estate()
        self.mark()

    def close(self) -> None:
        """Drop every database of this test, derived ones included."""
        for cluster, name in ((self.live, self.production), (self.trial, self.sandbox)):
            with admin(cluster) as session:
                found = session.execute(
                    "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{name}%"]
                ).fetchall()
                for (each,) in found:
                    session.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(each)))

    def mark(self) -> None:
        """Give both databases their marker."""
        for database, site in ((self.production, PRODUCTION), (self.sandbox, SANDBOX)):
            with self.owner(database) as session:
                write_marker(session, Marker(environment=site.environment, customer=site.customer))

    def owner(self, database: str) -> psycopg.Connection:
        """An autocommit session of the owner, in a database of either server."""
        server = "live" if database == self.production else "trial"
        return self.session(f"{server}_owner", database)

    def reader(self) -> psycopg.Connection:
        """A session of the reader in Production."""
        return self.session("live_reader", self.production, autocommit=False)

    def session(self, role: str, database: str, *, autocommit: bool = True) -> psycopg.Connection:
        """A session of `role`, with its password."""
        cluster = self.live if role.startswith("live") else self.trial
        word = self.secrets.read(SecretName(role.replace("_", "-"))).get_secret_value()
        return psycopg.connect(cluster.dsn(database, role), password=word, autocommit=autocommit)

    def fill(self, statements: str, *, database: str | None = None) -> None:
        """Run statements as the owner, in Production unless told otherwise."""
        self.baseline = None if database is None else self.baseline
        with self.owner(database or self.production) as session:
            session.execute(statements.encode())

    def production_digests(self) -> dict[TableName, str]:
        """Production as it is."""
        with admin(self.live, self.production) as session:
            return dict(digests(session))

    @property
    def source(self) -> Source:
        """Production, to read from."""
        return self.estate.source(LAKESIDE)

    @property
    def target(self) -> Target:
        """The Sandbox, to write to."""
        return self.estate.target(SANDBOX)

    def worker(self, run: str = "r1a1", *, kind: Kind = Kind.REFRESH, undoes: str | None = None) -> Worker:
        """A worker that holds `run`."""
        self.baseline = self.baseline or self.production_digests()
        name = RunId(run)
        scratch = self.folder / "runs" / run
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Worker(
            run=name,
            request=asked_for(
                name.request,
                SANDBOX,
                at=NOW,
                kind=kind,
                scheduled_for=NOW,
                status=Status.IN_PROGRESS,
                attempt=name.attempt,
                undoes=None if undoes is None else RequestId(undoes),
            ),
            estate=self.estate,
            settings=Settings(state_dir=self.folder, ledger=self.ledger._conninfo),
            secrets=self.secrets,
            clock=SetClock(NOW),
            scratch=scratch,
        )

    def with_servers(self, **changes: DatabaseServer) -> Estate:
        """The estate with other servers, for mistakes in its file."""
        servers = {**self.estate.servers, **{ServerName(name): server for name, server in changes.items()}}
        return replace(self.estate, servers=servers)

    def _roles(self) -> None:
        owner = DatabaseRole(
            name="live_owner",
            secret=SecretName("live-owner"),
            creates_databases=True,
            member_of=("pg_signal_backend",),
        )
        reader = DatabaseRole(name="live_reader", secret=SecretName("live-reader"), member_of=READER_GROUPS)
        user = DatabaseRole(name="trial_user", secret=SecretName("trial-user"))
        with admin(self.live) as session:
            establish(session, [owner, reader], self.secrets)
        with admin(self.trial) as session:
            owner = replace(owner, name="trial_owner", secret=SecretName("trial-owner"))
            establish(session, [owner, user], self.secrets)

    def _estate(self) -> Estate:
        live = self._server("live", self.live, production=True)
        trial = self._server("trial", self.trial, production=False)
        release = release_of("23.1.0", lock="releases/kinto/23.1.0.txt")
        with self.ledger.transaction() as connection:
            installed.record(connection, webapp="lakeside/live", release=release, run=None)
        sites = [
            site_of(site, "live", server, database=database, url=url)
            for site, server, database, url in (
                (PRODUCTION, "live", self.production, "https://live.lakeside.example.net"),
                (SANDBOX, "trial", self.sandbox, "https://sandbox.lakeside.example.net"),
            )
        ]
        return estate_of(
            servers=[live, trial],
            releases=[release],
            customers=[customer_of(LAKESIDE, sites, title="Lakeside Schools")],
        )

    def _server(self, name: str, cluster: Cluster, *, production: bool) -> DatabaseServer:
        return server_of(
            name,
            production=production,
            port=cluster.port,
            system_identifier=cluster.system_identifier(),
            owner=Login(user=f"{name}_owner", secret=SecretName(f"{name}-owner")),
            reader=Login(user="live_reader", secret=SecretName("live-reader")) if production else None,
        )


@contextmanager
def refreshes(live: Cluster, trial: Cluster, folder: Path, ledger: Ledger) -> Iterator[Refreshes]:
    """The customer, gone afterwards. At the end Production must be as it was when a worker came."""
    made = Refreshes(live, trial, folder, ledger)
    try:
        yield made
        if made.baseline is not None:
            assert made.production_digests() == made.baseline, "Production was changed"
    finally:
        made.close()
