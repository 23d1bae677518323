"""The ground on which faults are tried: a customer with real databases, a ledger, an application, secrets.

Invariant: everything is this ground's own (databases, roles, folders, ledger), so several stand side by side
on the same two clusters; every secret is a token found nowhere else.
"""

from __future__ import annotations

import secrets as random_words
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import yaml
from psycopg.sql import SQL, Identifier

from infra.ledger import installed, requests
from infra.ledger.connection import Ledger
from infra.ledger.migrate import migrate
from infra.postgres.digest import digests
from infra.postgres.selection import TableName
from infra.secrets import SecretFiles
from infra.settings import Settings
from infra.stack.cluster import Cluster
from policy.estate import Estate
from policy.names import (
    ApplicationName,
    CustomerName,
    Environment,
    RequestId,
    SecretName,
    SiteId,
    Version,
)
from policy.permissions import engineer
from policy.request import Kind, Request
from policy.wish import Wish
from tasks import manage
from tasks.submit import submit
from tasks.world import World
from tests.due import make_due
from tests.faults import leaf
from tests.faults.canaries import Canaries
from tests.faults.databases import drop_all, make_database, make_roles, write_secrets
from tests.faults.declaration import ENGINEER, NEW, OLD, estate_of

LAKESIDE = CustomerName("lakeside")
PRODUCTION = SiteId(LAKESIDE, Environment.PRODUCTION)
SANDBOX = SiteId(LAKESIDE, Environment.SANDBOX)
STAGING = SiteId(LAKESIDE, Environment.STAGING)
LEAF = ApplicationName("leaf")
LEASE = 2
"""Seconds; the shortest that the settings allow."""


class Ground:
    """One customer: Production and Sandbox on release 1, a Staging of its own on release 2.

    Args:
        live: the cluster for Production.
        trial: the cluster for Sandbox, Staging and the ledger.
        folder: an empty one.
        ports: other ports than the clusters' own for `live`, `trial` or `ledger`, to be cut off at.
    """

    def __init__(
        self, live: Cluster, trial: Cluster, folder: Path, ports: Mapping[str, int] | None = None
    ) -> None:
        self.live, self.trial, self.folder = live, trial, folder
        self.word = random_words.token_hex(3)
        self.databases = {
            PRODUCTION: f"prod_{self.word}",
            SANDBOX: f"sand_{self.word}",
            STAGING: f"stag_{self.word}",
        }
        self.ledger_database = f"ledger_{self.word}"
        self.tokens = write_secrets(folder / "secrets")
        self.roles = make_roles(
            live, trial, word=self.word, ledger=self.ledger_database, secrets=folder / "secrets"
        )
        self.ports = {"live": live.port, "trial": trial.port, "ledger": trial.port, **(ports or {})}
        for site, name in self.databases.items():
            make_database(self.cluster(site), name, site, self.roles)
        self.settings = self._settings()
        migrate(self.settings.ledger, self.settings.ledger_passfile)
        self.world = World(
            settings=self.settings,
            ledger=Ledger(self.settings.ledger, self.settings.ledger_passfile),
            secrets=SecretFiles(self.settings.secrets_dir),
        )
        self.declare()
        self.reset()

    # What stands where

    def cluster(self, site: SiteId) -> Cluster:
        """The cluster of `site`."""
        return self.live if site == PRODUCTION else self.trial

    def session(self, site: SiteId) -> psycopg.Connection:
        """A superuser's session in the database of `site`."""
        return psycopg.connect(self.cluster(site).dsn(self.databases[site]), autocommit=True)

    def admin(self, cluster: Cluster) -> psycopg.Connection:
        """A superuser's session beside the databases."""
        return psycopg.connect(cluster.dsn(), autocommit=True)

    @property
    def estate(self) -> Estate:
        """As declared now."""
        return self.world.estate()

    def host(self, site: SiteId) -> leaf.Host:
        """The host that serves `site`."""
        return leaf.Host.of(self.estate.webapp(site))

    @property
    def env(self) -> dict[str, str]:
        """What a worker finds in its environment."""
        told = {
            "STATE_DIR": self.settings.state_dir,
            "ESTATE": self.settings.estate,
            "SECRETS_DIR": self.settings.secrets_dir,
            "LEDGER": self.settings.ledger,
            "LEDGER_PASSFILE": self.settings.ledger_passfile,
            "LEASE_SECONDS": LEASE,
            "SMTP": self.settings.smtp,
            "ON_CALL_WEBHOOK": self.settings.on_call_webhook,
            "AWS_ENDPOINT": self.settings.aws_endpoint,
            "PREFECT_API": self.settings.prefect_api,
        }
        return {f"FRESHET_{name}": str(value) for name, value in told.items()}

    # What is asked for

    def ask(
        self, kind: Kind, site: SiteId, *, version: Version | None = None, undoes: RequestId | None = None
    ) -> RequestId:
        """A request that is due now."""
        if undoes is not None:
            request = manage.undo(self.world, undoes, None, "a test").id
        else:
            wish = Wish(site=site, version=version, refresh=kind is Kind.REFRESH)
            request = submit(self.world, wish, engineer(ENGINEER)).request.id
        self.schedule(request)
        return request

    def schedule(self, request: RequestId) -> None:
        """Give `request` a date: now."""
        make_due(self.world, request)

    def request(self, number: RequestId) -> Request:
        """As it stands now."""
        with self.world.ledger.transaction() as connection:
            return requests.get(connection, number)

    def let_lease_end(self) -> None:
        """As if the lease's seconds had passed; only for workers that are dead."""
        with self.world.ledger.transaction() as connection:
            connection.execute("update lease set renewed_at = renewed_at - interval '1 hour'")

    # What is found

    def visit(self, site: SiteId) -> tuple[str, int]:
        """What a visitor of `site` meets: the version that serves and its data's generation, or why not."""
        host = self.host(site)
        if host.door(site.environment) != leaf.OPEN:
            return f"door: {host.door(site.environment)}", 0
        with self.session(site) as session:
            schema = leaf.version_of(session)
            row = session.execute("SELECT n FROM generation").fetchone()
        if not host.running or host.running != schema or host.active != schema:
            return f"error: runs '{host.running}' of '{host.active}' on a schema of {schema}", 0
        return schema, int(row[0]) if row else 0

    def production_digests(self) -> Mapping[TableName, str]:
        """Production as it is."""
        with self.session(PRODUCTION) as session:
            return digests(session)

    def new_generation(self) -> int:
        """Production's data move on; returns the new number."""
        with self.session(PRODUCTION) as session:
            row = session.execute("UPDATE generation SET n = n + 1 RETURNING n").fetchone()
        assert row is not None
        return int(row[0])

    # Making and unmaking

    def declare(self, **changes: object) -> None:
        """Write the estate's file; `changes` replace top-level sections."""
        path = self.folder / "estate.yaml"
        lock = self.folder / "leaf.txt"
        lock.write_bytes(b"leaf\n")
        told = estate_of(
            word=self.word,
            lock=lock,
            databases={site.environment.value: name for site, name in self.databases.items()},
            ports=self.ports,
            identities={"live": self.live.system_identifier(), "trial": self.trial.system_identifier()},
            roles=self.roles,
            hosts=self.folder / "hosts",
        )
        aside = path.with_name("estate.new")
        aside.write_text(yaml.safe_dump({**told, **changes}, sort_keys=False), encoding="utf-8")
        aside.replace(path)

    def reset(self) -> None:
        """Production and Sandbox on release 1, Staging on release 2, whatever was there before."""
        for site in self.databases:
            version = NEW if site == STAGING else OLD
            with self.session(site) as session:
                session.execute("UPDATE schema_version SET version = %s", [version])
                session.execute(leaf.FIRST_HALF if site == STAGING else "DROP TABLE IF EXISTS labels")
        for webapp in self.estate.customers[LAKESIDE].webapps.values():
            sites = self.estate.served_by(webapp)
            version = NEW if webapp.name == "staging" else OLD
            leaf.Host.of(webapp).install(version, [site.id.environment for site in sites])
            release = self.estate.release(LEAF, version)
            with self.world.ledger.transaction() as connection:
                installed.record(connection, webapp=webapp.key, release=release, run=None)
                installed.acknowledge(connection, webapp=webapp.key)

    def close(self) -> None:
        """Drop databases and roles."""
        drop_all((self.live, self.trial), self.word, self.roles.values())

    def _settings(self) -> Settings:
        passfile = self.folder / "ledger.pass"
        passfile.touch(mode=0o600)
        role = self.roles["ledger"]
        word = self.tokens["ledger"].replace("\\", "\\\\").replace(":", "\\:")
        passfile.write_text(f"*:*:*:{role}:{word}\n", encoding="utf-8")
        return Settings(
            state_dir=self.folder / "state",
            estate=self.folder / "estate.yaml",
            secrets_dir=self.folder / "secrets",
            ledger=f"host=127.0.0.1 port={self.ports['ledger']} dbname={self.ledger_database} user={role}",
            ledger_passfile=passfile,
            lease_seconds=LEASE,
            smtp="127.0.0.1:9",
            aws_endpoint="http://127.0.0.1:9",
            prefect_api="http://127.0.0.1:9/api",
            on_call_webhook=SecretName("on-call-webhook"),
        )


def leaks(ground: Ground) -> list[str]:
    """Where a secret of the ground was written: in its files, its ledger or a server's log."""
    canaries = Canaries(ground.tokens)
    found = canaries.in_folder(
        ground.folder, apart=(ground.settings.secrets_dir, ground.folder / "ledger.pass")
    )
    for cluster in (ground.live, ground.trial):
        found += canaries.in_text(cluster.log.read_text(encoding="utf-8", errors="replace"), str(cluster.log))
    with psycopg.connect(ground.trial.dsn(ground.ledger_database)) as session:
        tables = session.execute(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            rows = session.execute(SQL("SELECT t::text FROM {} AS t").format(Identifier(table))).fetchall()
            found += canaries.in_text("\n".join(str(row) for (row,) in rows), f"ledger table {table}")
    canaries.note(found)
    return found


@contextmanager
def ground_on(
    live: Cluster, trial: Cluster, folder: Path, ports: Mapping[str, int] | None = None
) -> Iterator[Ground]:
    """A ground, gone afterwards; whatever was tried on it, no secret may have been written anywhere."""
    made = Ground(live, trial, folder, ports)
    try:
        yield made
        found = leaks(made)
        assert not found, "\n".join(found)
    finally:
        made.close()
