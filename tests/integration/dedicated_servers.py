"""A server that one web application has to itself, kept as files by a run that upgrades it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from infra.postgres.digest import digests
from infra.secrets import SecretFiles
from infra.settings import Settings
from infra.stack.cluster import Cluster, PostgresVersion, bin_dir
from infra.stack.unprivileged import prefix
from policy.names import RunId
from tasks.snapshots import Kept, kept
from tests.integration.engine_runs import QUICK, WORD, Server
from tests.integration.engine_work import EngineWork
from tests.ports import free_port

TAKEN, FAILED = "data.snapshot_r7a1", "data.failed_r7a1"


@dataclass(kw_only=True)
class Dedicated:
    """A server that one web application has to itself, and a run that upgrades it."""

    folder: Path
    cluster: Cluster

    def work(self, *, epoch: int = 1, run: str = "r7a1", **variables: object) -> EngineWork:
        words = ", ".join(f'"{word}"' for word in prefix())
        (self.folder / "clusters.yaml").write_text(
            f"clusters:\n  db:\n    host: local\n    bin: {bin_dir(PostgresVersion.V18)}\n"
            f"    data: {self.cluster.data}\n    prefix: [{words}]\n    timeout_s: 60\n"
        )
        estate = Server(folder=self.folder, old=self.cluster, secret=True)._estate()
        customer = next(iter(estate.customers.values()))
        webapps = {name: replace(app, variables=variables) for name, app in customer.webapps.items()}
        scratch = self.folder / "state" / "runs" / run
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        return EngineWork(
            estate=replace(estate, customers={customer.name: replace(customer, webapps=webapps)}),
            settings=Settings(estate=self.folder / "estate.yaml", state_dir=self.folder / "state"),
            secrets=SecretFiles(self.folder / "secrets"),
            scratch=scratch,
            run=RunId(run),
            epoch=epoch,
        )

    def kept(self, **more: object) -> Kept:
        (only,) = kept(self.work(**{"snapshot": "physical", **more}))  # type: ignore[arg-type]
        return only

    def session(self, database: str = "lakeside") -> psycopg.Connection:
        return psycopg.connect(self.cluster.dsn(database), password=WORD, autocommit=True, connect_timeout=5)

    def state(self) -> object:
        with self.session() as session:
            roles = session.execute("select rolname::text from pg_roles order by 1").fetchall()
            return dict(digests(session)), roles

    def migrate(self) -> None:
        with self.session() as session:
            session.execute("alter table person drop column name; create table made_by_the_migration ()")
            for statement in ("create role made_by_the_migration", "vacuum full person", "checkpoint"):
                session.execute(statement.encode())

    def beside(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("data.*") if path.suffix != ".log")


def written_data(folder: Path) -> Path:
    """The files of a server that holds rows and is stopped, to be copied by each test."""
    (folder / "word").write_text(WORD + "\n")
    cluster = Cluster(
        data=folder / "data", port=free_port(), settings=QUICK, superuser_passfile=folder / "word"
    )
    cluster.initialise()
    cluster.start()
    with psycopg.connect(cluster.dsn(), autocommit=True) as session:
        session.execute("create database lakeside")
    with psycopg.connect(cluster.dsn("lakeside"), autocommit=True) as session:
        session.execute("create table person (id serial primary key, name text not null, at timestamptz)")
        session.execute(
            "insert into person (name, at) select 'p' || g, now() from generate_series(1, 3000) g"
        )
    cluster.stop()
    return cluster.data


@contextmanager
def dedicated_server(original: Path, folder: Path) -> Iterator[Dedicated]:
    """A server on a copy of `original`, which runs."""
    (folder / "secrets").mkdir(mode=0o700)
    (folder / "secrets" / "superuser").touch(mode=0o600)
    (folder / "secrets" / "superuser").write_text(WORD + "\n")
    shutil.copytree(original, folder / "data", symlinks=True)
    cluster = Cluster(data=folder / "data", port=free_port(), settings=QUICK, superuser_auth="scram-sha-256")
    cluster.start()
    try:
        yield Dedicated(folder=folder, cluster=cluster)
    finally:
        if cluster.running():
            cluster.stop(fast=False)
