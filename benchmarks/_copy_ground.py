"""Two clusters and a realistic database, for measuring copies: stock settings but for 1 GB of buffers."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from pydantic import SecretStr

from infra.postgres import catalog
from infra.postgres.mask_text import text_expression
from infra.postgres.methods import CopyJob
from infra.postgres.selection import Selection, TableName
from infra.secrets import SecretFiles
from infra.stack.cluster import Cluster
from policy.machines import DatabaseServer, Login
from policy.masks import Mask
from policy.names import SecretName, ServerName
from policy.protection import MaskWith

READER = Login(user="bench_reader", secret=SecretName("bench-reader"))
OWNER = Login(user="bench_owner", secret=SecretName("bench-owner"))
SOURCE = "shop"
GIGABYTES = float(os.environ.get("BENCH_GB", "1.8"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SETTINGS = {"shared_buffers": "1GB"}
_CREATE = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0")
_TABLES = """
CREATE TABLE account (id int, branch int, balance int, filler char(84));
INSERT INTO account SELECT g, g % 100, 0, '' FROM generate_series(1, {accounts}) g;
ALTER TABLE account ADD PRIMARY KEY (id);
CREATE TABLE customer (id int, email text NOT NULL, first_name text, last_name text, phone text, street text,
  town text, born date, notes text, profile jsonb, seen timestamptz);
INSERT INTO customer SELECT g, 'user' || g || '@mail' || g % 97 || '.example.org',
  (ARRAY['Anna', 'Ben', 'Clara', 'David', 'Eva', 'Frank', 'Greta', 'Hans'])[1 + g % 8],
  (ARRAY['Miller', 'Smith', 'Jones', 'Brown', 'Lopez', 'Novak', 'Schmidt'])[1 + g % 7] || g % 1000,
  '+1555' || lpad(g::text, 7, '0'), g % 999 || ' Main Street', 'Town ' || g % 5000,
  date '1950-01-01' + g % 20000, repeat(md5(g::text) || ' ', 8),
  jsonb_build_object('lang', g % 5, 'score', g % 1000,
    'tags', jsonb_build_array(md5((g % 1000)::text), g % 777)),
  timestamptz '2026-01-01' - g * interval '1 second' FROM generate_series(1, {customers}) g;
ALTER TABLE customer ADD PRIMARY KEY (id);
CREATE UNIQUE INDEX customer_email ON customer (email);
CREATE INDEX customer_name ON customer (last_name, first_name);
CREATE INDEX customer_seen ON customer (seen);
CREATE INDEX customer_profile ON customer USING gin (profile jsonb_path_ops);
CREATE TABLE purchase (id bigint GENERATED ALWAYS AS IDENTITY, customer int NOT NULL, at timestamptz,
  amount numeric(12, 2), what text);
INSERT INTO purchase (customer, at, amount, what)
  SELECT 1 + g % {customers}, timestamptz '2026-01-01' + g * interval '1 s', g % 99999 / 100.0,
    'article ' || md5((g % 9999)::text) FROM generate_series(1, {purchases}) g;
ALTER TABLE purchase ADD PRIMARY KEY (id), ADD FOREIGN KEY (customer) REFERENCES customer;
CREATE INDEX purchase_customer ON purchase (customer);
CREATE VIEW big_spender AS SELECT customer, sum(amount) FROM purchase GROUP BY customer;
"""
MASKS = {
    "email": MaskWith(mask=Mask.EMAIL, domain="example.org"),
    "first_name": MaskWith(mask=Mask.GIVEN_NAME),
    "last_name": MaskWith(mask=Mask.FAMILY_NAME),
    "phone": MaskWith(mask=Mask.PHONE, like="+1555#######"),
    "street": MaskWith(mask=Mask.STREET),
}
"""Five of the twenty columns, a quarter, by the transformers of the protection policy."""

MASKED = {
    TableName("public", "customer"): Selection(
        columns={name: text_expression(sql.Identifier(name), rule) for name, rule in MASKS.items()}
    )
}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Ground:
    """The two clusters, and the roles that copy between them."""

    folder: Path
    source: Cluster
    target: Cluster
    secrets: SecretFiles

    def admin(self, cluster: Cluster, database: str = "postgres") -> psycopg.Connection:
        """A superuser's session."""
        return psycopg.connect(cluster.dsn(database), autocommit=True)

    def job(self, database: str = SOURCE, *, masked: bool) -> CopyJob:
        """A copy of a source database into a fresh incoming one."""
        with self.admin(self.source, database) as connection:
            taken = {table.name: Selection() for table in catalog.tables(connection)}
        taken[catalog.LARGE_OBJECTS] = Selection()
        server = DatabaseServer(
            name=ServerName("source"), host="127.0.0.1", port=self.source.port, production=True,
            system_identifier=None, owner=OWNER, reader=READER,
        )  # fmt: skip
        scratch = self.folder / "scratch"
        scratch.mkdir(mode=0o700, exist_ok=True)
        return CopyJob(
            source=server,
            source_database=database,
            reader=READER,
            target=replace(server, name=ServerName("target"), port=self.target.port, production=False),
            incoming=f"shop__in_r{secrets.randbelow(10**8) + 1}a1",
            owner=OWNER,
            secrets=self.secrets,
            selections={**taken, **(MASKED if masked else {})},
            key=SecretStr(secrets.token_hex(32)),
            run="r1a1",
            scratch=scratch,
        )

    def create(self, job: CopyJob) -> None:
        """Make the incoming database."""
        with self.admin(self.target) as admin:
            name, owner = sql.Identifier(job.incoming), sql.Identifier(OWNER.user)
            admin.execute(_CREATE.format(name, owner))

    def drop(self, name: str) -> None:
        """Drop a database of the target, and let the server come to rest."""
        with self.admin(self.target) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            admin.execute("CHECKPOINT")

    def cpu(self) -> float:
        """CPU-seconds so far of both servers' sessions, and of the programs that this process waited for."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = used.ru_utime + used.ru_stime
        for cluster in (self.source, self.target):
            pid = cluster.postmaster()
            assert pid is not None
            times = psutil.Process(pid).cpu_times()
            total += times.children_user + times.children_system
        return total

    def fill(self, database: str, *, gigabytes: float) -> None:
        """Make a source database of about this size."""
        with self.admin(self.source) as admin:
            admin.execute(_CREATE.format(sql.Identifier(database), sql.Identifier(OWNER.user)))
        sizes = {"accounts": 3_000_000, "customers": 240_000, "purchases": 2_400_000}
        rows = {name: max(int(count * gigabytes), 100) for name, count in sizes.items()}
        with self.admin(self.source, database) as admin:
            admin.execute("SET ROLE bench_owner")
            admin.execute(_TABLES.format(**rows))
            admin.execute("RESET ROLE")
            admin.execute("VACUUM (FREEZE, ANALYZE)")
            admin.execute("CHECKPOINT")


@contextmanager
def ground(
    folder: Path, *, source_core: int | None = None, target_core: int | None = None
) -> Iterator[Ground]:
    """Two fresh clusters below `folder`, each on its own core if one is given; gone afterwards."""
    keys = SecretFiles(folder / "secrets")
    keys.directory.mkdir(mode=0o700, parents=True)
    for login in (READER, OWNER):
        path = keys.path(login.secret)
        path.write_text(secrets.token_hex(16), encoding="utf-8")
        path.chmod(0o600)
    clusters = [
        Cluster(data=folder / name, port=free_port(), settings=SETTINGS) for name in ("source", "target")
    ]
    try:
        for cluster, core in zip(clusters, (source_core, target_core), strict=True):
            cluster.initialise()
            cluster.start()
            if core is not None:
                _pin(cluster, core)
            _roles(cluster, keys)
        yield Ground(folder, clusters[0], clusters[1], keys)
    finally:
        for cluster in clusters:
            if cluster.running():
                cluster.stop(fast=False)
        shutil.rmtree(folder, ignore_errors=True)


def _pin(cluster: Cluster, core: int) -> None:
    """Keep a server, and what it forks later, on one core."""
    pid = cluster.postmaster()
    assert pid is not None
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        os.sched_setaffinity(process.pid, {core})


def _roles(cluster: Cluster, keys: SecretFiles) -> None:
    rules = cluster.data / "pg_hba.conf"
    with rules.open("a", encoding="utf-8") as file:
        file.write("host replication bench_reader 127.0.0.1/32 scram-sha-256\n")
    with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
        for login, rights in ((READER, "REPLICATION"), (OWNER, "CREATEDB")):
            admin.execute(
                sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
                    sql.Identifier(login.user),
                    sql.SQL(rights),
                    sql.Literal(keys.read(login.secret).get_secret_value()),
                )
            )
        admin.execute("GRANT pg_read_all_data, pg_read_all_stats TO bench_reader")
        admin.execute("SELECT pg_reload_conf()")
