"""A small real hosting for tests: supervisord, databases and secrets in a temporary folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql
from pydantic import SecretStr

from infra.ansible import StageResult, run_stages
from infra.ansible_events import TaskEvent
from infra.checks import Subject
from infra.secrets import SecretFiles
from infra.stack.cluster import Cluster
from policy.estate import Host
from policy.names import HostName
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LOCAL = Host(name=HostName("local"), connection="local")

_SUPERVISORD = """\
[supervisord]
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
childlogdir=%(here)s
nodaemon=true
[inet_http_server]
port=127.0.0.1:{port}
username=tests
password={password}
[supervisorctl]
serverurl=http://127.0.0.1:{port}
username=tests
password={password}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files=%(here)s/conf.d/*.conf
"""


@contextmanager
def supervisord(folder: Path) -> Iterator[Path]:
    """A running supervisord; gives its configuration file."""
    (folder / "conf.d").mkdir(parents=True)
    config = folder / "supervisord.conf"
    config.write_text(_SUPERVISORD.format(port=free_port(), password="control-word-of-the-tests"))
    config.chmod(0o600)
    # Its umask and environment are plain: what it starts must not depend on who runs the tests.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", BIN / "supervisord", "-c", config],
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        give_up = time.monotonic() + 20
        while not (folder / "supervisord.pid").exists():
            assert process.poll() is None, (folder / "out").read_text()
            assert time.monotonic() < give_up
            time.sleep(0.05)
        yield config
    finally:
        process.terminate()
        process.wait(30)


@dataclass(kw_only=True)
class Hosting:
    """One web application with its Production and Sandbox."""

    folder: Path
    cluster: Cluster
    supervisor: Path
    key: str
    application: str = "kinto"
    databases: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def scratch(self) -> Path:
        return self.folder / "runs"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def secrets(self) -> SecretFiles:
        return SecretFiles(self.folder / "secrets")

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().rstrip("\n")

    def variables(self, release: str, more: Mapping[str, object] | None = None) -> dict[str, object]:
        lock = ROOT / "releases" / self.application / f"{release}.txt"
        return {
            "application": self.application,
            "webapp_key": self.key,
            "root": self.root,
            "sites": [self._site(environment) for environment in self.databases],
            "release": {
                "version": release.partition("-")[0],
                "lock": lock,
                "sha256": hashlib.sha256(lock.read_bytes()).hexdigest(),
            },
            "service_manager": "supervisor",
            "supervisor": {"config": self.supervisor},
            "uv": BIN / "uv",
            "maintenance": {
                "text": "Lakeside is being updated {{ 40 + 2 }} <now>.",
                "until_local": "Sunday 22 November 2099, 04:30 CST",
                "until_utc": "2099-11-22T10:30:00Z",
            },
            **(more or {}),
        }

    def _site(self, environment: str) -> Mapping[str, object]:
        name = self.databases[environment]
        port = self.ports[environment]
        return {
            "environment": environment,
            "port": port,
            "url": f"http://127.0.0.1:{port}",
            "admin_password_file": self.folder / "secrets" / "administrator",
            "database": {
                "host": "127.0.0.1",
                "port": self.cluster.port,
                "name": name,
                "user": name,
                "password_file": self.folder / "secrets" / f"owner-{environment}",
            },
        }

    def go(
        self,
        release: str,
        *stages: str,
        run: str = "r1a1",
        epoch: int = 1,
        hosts: Sequence[Host] = (LOCAL,),
        timeout_s: float = 120,
        check: bool = False,
        on_event: Callable[[TaskEvent], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
        more: Mapping[str, object] | None = None,
    ) -> StageResult:
        return run_stages(
            hosts=hosts,
            variables=self.variables(release, more),
            stages=stages,
            run=run,
            epoch=epoch,
            scratch=self.scratch,
            secrets=self.secrets,
            timeout_s=timeout_s,
            on_event=on_event,
            check=check,
            cancelled=cancelled,
        )

    def connect(self, environment: str) -> psycopg.Connection:
        name = self.databases[environment]
        return psycopg.connect(
            self.cluster.dsn(name, name), password=self.secret(f"owner-{environment}"), connect_timeout=10
        )

    def url(self, environment: str) -> str:
        return f"http://127.0.0.1:{self.ports[environment]}"

    def subject(self, environment: str) -> Subject:
        return Subject(
            url=self.url(environment),
            connect=lambda: self.connect(environment),
            password=SecretStr(self.secret("administrator")),
            webapp_key=self.key,
        )

    def administer(self) -> psycopg.Connection:
        return psycopg.connect(self.cluster.dsn(), autocommit=True)

    def snapshot(self) -> None:
        """Copy both databases aside."""
        with self.administer() as connection:
            for name in self.databases.values():
                aside, database = sql.Identifier(f"{name}__snap"), sql.Identifier(name)
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(aside))
                connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(aside, database, database)
                )

    def restore(self) -> None:
        """Put the copies into place."""
        with self.administer() as connection:
            for name in self.databases.values():
                aside, database = sql.Identifier(f"{name}__snap"), sql.Identifier(name)
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
                connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(aside, database))

    def exchange(self, environment: str) -> None:
        """Put a copy into the place of a database that is in use, as a refresh does."""
        name = self.databases[environment]
        database, copy, old = (sql.Identifier(name + suffix) for suffix in ("", "__snap", "__old"))
        with self.administer() as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(copy, database, database)
            )
            connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(database, old))
            connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(copy, database))
            connection.execute(sql.SQL("DROP DATABASE {}").format(old))


@contextmanager
def hosting(folder: Path, cluster: Cluster, *, key: str, application: str = "kinto") -> Iterator[Hosting]:
    """Databases, roles, secrets and supervisord for one web application; nothing is installed yet."""
    prefix = key.replace("/", "_").replace("-", "_")
    databases = {environment: f"{prefix}_{environment}" for environment in ("production", "sandbox")}
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    words = {
        "administrator": "administrator-word-7f3a91",
        "owner-production": "owner:word\\of-production-5c2e8d",
        "owner-sandbox": "owner'word\"of-sandbox-b81f04",
    }
    for name, word in words.items():
        (secrets / name).write_text(word + "\n")
        (secrets / name).chmod(0o600)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        for environment, name in databases.items():
            role, told = sql.Identifier(name), sql.Literal(words[f"owner-{environment}"])
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, told))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
    with supervisord(folder / "supervisor") as config:
        yield Hosting(
            folder=folder,
            cluster=cluster,
            supervisor=config,
            key=key,
            application=application,
            databases=databases,
            ports={environment: free_port() for environment in databases},
        )
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        for name in databases.values():
            for database in (name, f"{name}__snap"):
                connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
                )
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
