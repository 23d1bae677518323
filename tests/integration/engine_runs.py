"""Runs of a server's upgrade for tests: a real cluster, what is declared of it, its estate."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from infra.postgres.digest import digests
from infra.secrets import SecretFiles
from infra.settings import Settings
from infra.stack.cluster import Cluster, PostgresVersion, bin_dir
from infra.stack.unprivileged import prefix
from policy.estate import Estate
from policy.machines import Host, Login
from policy.names import DatabaseName, HostName, SecretName
from tests.estate_parts import customer_of, estate_of, server_of, site_of
from tests.integration.engine_work import SITE, EngineWork
from tests.ports import free_port
from tests.waiting import wait_until

QUICK = {
    "fsync": "off",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "max_prepared_transactions": "4",
    "jit": "off",
}
WORD = "superuser's:word\\of-the-tests"


@dataclass(kw_only=True)
class Server:
    """A server whose version changes: its old cluster, and where the new one will be."""

    folder: Path
    old: Cluster
    secret: bool
    mode: str = "auto"
    extra: str = ""
    timeout_s: float = 120

    @property
    def new(self) -> Cluster:
        return Cluster(
            data=self.folder / "new",
            port=self.old.port,
            version=PostgresVersion.V18,
            settings=self.old.settings,
        )

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            self.old.dsn(database), password=WORD if self.secret else None, autocommit=True, connect_timeout=5
        )

    def version(self) -> int:
        with self.connect() as connection:
            return connection.info.server_version // 10_000

    def databases(self) -> list[str]:
        with self.connect() as connection:
            rows = connection.execute(
                "select datname from pg_database where datallowconn and not datistemplate"
            )
            return sorted(str(row[0]) for row in rows)

    def digests(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for database in self.databases():
            with self.connect(database) as connection:
                found[database] = (dict(digests(connection)), self._large_objects(connection))
        return found

    @staticmethod
    def _large_objects(connection: psycopg.Connection[tuple[object, ...]]) -> list[tuple[object, ...]]:
        return connection.execute(
            "select oid, pg_get_userbyid(lomowner), md5(lo_get(oid)) from pg_largeobject_metadata order by 1"
        ).fetchall()

    def work(self, **more: object) -> EngineWork:
        """A worker for this server; the declaration is written for it."""
        (self.folder / "engines.yaml").write_text(self._declaration())
        work = EngineWork(
            estate=self._estate(),
            settings=Settings(estate=self.folder / "estate.yaml", state_dir=self.folder / "state"),
            secrets=SecretFiles(self.folder / "secrets"),
            scratch=self._scratch(),
        )
        return replace(work, **more)  # type: ignore[arg-type]  # any field

    def _scratch(self) -> Path:
        scratch = self.folder / "state" / "runs" / "r7a1"
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        return scratch

    def _declaration(self) -> str:
        words = ", ".join(json.dumps(word) for word in prefix())
        return f"""\
engines:
  db:
    host: local
    superuser: {{user: postgres{", secret: superuser" if self.secret else ""}}}
    old: {{bin: {bin_dir(PostgresVersion.V16)}, data: {self.old.data}}}
    new: {{bin: {bin_dir(PostgresVersion.V18)}, data: {self.new.data}}}
    mode: {self.mode}
    prefix: [{words}]
    timeout_s: {self.timeout_s}
{self.extra}"""

    def _estate(self) -> Estate:
        host = Host(name=HostName("local"), connection="local")
        server = server_of(
            "db",
            production=True,
            port=self.old.port,
            owner=Login(user="postgres", secret=SecretName("superuser")),
            reader=None,
        )
        site = site_of(
            SITE, "live", "db", database=DatabaseName("lakeside"), url="http://127.0.0.1:1", port=1
        )
        customer = customer_of(SITE.customer, [site], host="local", title="Lakeside Schools")
        return estate_of(name="tests", servers=[server], hosts=[host], customers=[customer])

    def processes(self) -> list[list[str]]:
        """Everything that runs and has this server's folder on its command line, but the one that serves."""
        found = []
        serving = {self.old.postmaster(), self.new.postmaster()}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in {os.getpid(), *serving}:
                continue
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(str(self.folder) in word for word in words):
                found.append(words)
        return found

    def beside(self) -> list[str]:
        """What lies beside the directories, but for logs."""
        return sorted(path.name for path in self.folder.glob("*.*") if path.suffix not in {".log", ".yaml"})

    def when_restoring(self, act: Callable[[int], None]) -> Callable[[str], None]:
        """A listener that waits until pg_upgrade restores a database, then acts on its process."""

        def listen(text: str) -> None:
            if "with pg_upgrade" in text and text.startswith("transfer"):
                wait_until(lambda: any("pg_restore" in words[0] for words in self.processes()), rest=0.01)
                act(self.pg_upgrade())

        return listen

    def pg_upgrade(self) -> int:
        """The process id of the pg_upgrade that works for this server."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                except OSError:
                    continue
                if words[0].endswith("/pg_upgrade") and any(str(self.folder) in word for word in words):
                    return int(entry.name)
        raise AssertionError("no pg_upgrade works for this server")

    def stop(self) -> None:
        for cluster in (self.new, self.old):
            if cluster.running():
                cluster.stop(fast=False)


def copied(original: Path, folder: Path, *, secret: bool, **more: object) -> Server:
    """A server of its own, started from a copy of the stopped cluster in `original`."""
    folder.mkdir(parents=True, exist_ok=True)
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "superuser").write_text(WORD + "\n")
    (secrets / "superuser").chmod(0o600)
    shutil.copytree(original, folder / "old", symlinks=True)
    old = Cluster(
        data=folder / "old",
        port=free_port(),
        version=PostgresVersion.V16,
        settings=QUICK,
        superuser_auth="scram-sha-256" if secret else "trust",
    )
    old.start()
    return replace(Server(folder=folder, old=old, secret=secret), **more)  # type: ignore[arg-type]  # any field
