"""A small real hosting on this machine, to try an application on: databases, secrets and supervisord.

Invariant: everything lies in one folder and one cluster, and is gone when the trial ends. Nothing of it is
meant for real data: the secrets are made up on the spot.
"""

from __future__ import annotations

import hashlib
import os
import secrets as random_words
import socket
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
from infra.roles import PLAYBOOKS
from infra.secrets import SecretFiles
from infra.stack.cluster import Cluster
from policy.errors import Unavailable
from policy.machines import Host
from policy.names import HostName

RELEASES = PLAYBOOKS.parent / "releases"
LOCAL = Host(name=HostName("local"), connection="local")
START_SECONDS = 20.0
ENVIRONMENTS = ("production", "sandbox")

_SUPERVISORD = """\
[supervisord]
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
childlogdir=%(here)s
nodaemon=true
[inet_http_server]
port=127.0.0.1:{port}
username=trial
password={password}
[supervisorctl]
serverurl=http://127.0.0.1:{port}
username=trial
password={password}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files=%(here)s/conf.d/*.conf
"""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def supervisord(folder: Path) -> Iterator[Path]:
    """A running supervisord in `folder`; gives its configuration file."""
    (folder / "conf.d").mkdir(parents=True, mode=0o700)
    config = folder / "supervisord.conf"
    config.touch(mode=0o600)
    config.write_text(
        _SUPERVISORD.format(port=free_port(), password=random_words.token_hex(16)), encoding="utf-8"
    )
    # Its environment is plain: what it starts must not depend on who tries.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", Path(sys.executable).with_name("supervisord"), "-c", config],
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        give_up = time.monotonic() + START_SECONDS
        while not (folder / "supervisord.pid").exists():
            if process.poll() is not None or time.monotonic() > give_up:
                told = (folder / "out").read_text(encoding="utf-8", errors="replace").strip()
                raise Unavailable(f"supervisord does not start: {told[-300:]}")
            time.sleep(0.05)
        yield config
    finally:
        process.terminate()
        process.wait(30)


@dataclass(kw_only=True)
class Trial:
    """One web application with a Production and a Sandbox.

    Attributes:
        key: the web application's key; names derive from it.
        locks: where the releases' locks lie, one folder an application.
    """

    folder: Path
    cluster: Cluster
    supervisor: Path
    key: str
    application: str
    locks: Path = RELEASES
    databases: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def scratch(self) -> Path:
        """The run's folder."""
        return self.folder / "runs"

    @property
    def root(self) -> Path:
        """Where the application is installed."""
        return self.folder / "root"

    @property
    def secrets(self) -> SecretFiles:
        """The made-up secrets."""
        return SecretFiles(self.folder / "secrets")

    def secret(self, name: str) -> str:
        """One of them."""
        return (self.folder / "secrets" / name).read_text(encoding="utf-8").rstrip("\n")

    def variables(self, release: str, more: Mapping[str, object] | None = None) -> dict[str, object]:
        """What the role is told, with `more` on top; `release` names a lock's file."""
        lock = self.locks / self.application / f"{release}.txt"
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
            "uv": Path(sys.executable).with_name("uv"),
            "maintenance": {
                "text": "A trial {{ 40 + 2 }} <now>.",
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
        """Carry out stages, as `infra.ansible.run_stages` does."""
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
        """A session in a site's database, as its owner."""
        name = self.databases[environment]
        return psycopg.connect(
            self.cluster.dsn(name, name), password=self.secret(f"owner-{environment}"), connect_timeout=10
        )

    def url(self, environment: str) -> str:
        """Where a site's users knock."""
        return f"http://127.0.0.1:{self.ports[environment]}"

    def subject(self, environment: str) -> Subject:
        """A site for the health checks."""
        return Subject(
            url=self.url(environment),
            connect=lambda: self.connect(environment),
            password=SecretStr(self.secret("administrator")),
            webapp_key=self.key,
        )

    def administer(self) -> psycopg.Connection:
        """A superuser's session."""
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


@contextmanager
def trial(
    folder: Path, cluster: Cluster, *, key: str, application: str, locks: Path = RELEASES
) -> Iterator[Trial]:
    """Databases, roles, secrets and supervisord for one web application; nothing is installed yet."""
    prefix = key.replace("/", "_").replace("-", "_")
    databases = {environment: f"{prefix}_{environment}" for environment in ENVIRONMENTS}
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    # Signs that mean something in a password file, in SQL and in a shell.
    words = {
        "administrator": f"administrator-{random_words.token_hex(8)}",
        "owner-production": f"o:w\\n-{random_words.token_hex(8)}",
        "owner-sandbox": f"o'w\"n-{random_words.token_hex(8)}",
    }
    for name, word in words.items():
        (secrets / name).touch(mode=0o600)
        (secrets / name).write_text(word + "\n", encoding="utf-8")
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        for environment, name in databases.items():
            role, told = sql.Identifier(name), sql.Literal(words[f"owner-{environment}"])
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, told))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
    with supervisord(folder / "supervisor") as config:
        yield Trial(
            folder=folder,
            cluster=cluster,
            supervisor=config,
            key=key,
            application=application,
            locks=locks,
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
