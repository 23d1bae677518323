"""How this project reaches a PostgreSQL server: its own sessions, and the surroundings of client programs.

Invariant: every backend that a run opens is called `freshet-<run>`, so that a successor finds and ends it,
and ends by itself within seconds when its client dies or becomes unreachable. A password is read from its
file at the moment of use and goes only into libpq's own parameter or into a password file of mode 600 that
is removed again.
"""

from __future__ import annotations

import os
import secrets as random_names
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from infra.secrets import SecretFiles
from policy.errors import Unavailable
from policy.machines import DatabaseServer, Login

CONNECT_SECONDS = 10
"""A server that does not answer within this is unavailable."""

UNREACHABLE_MS = 15_000
"""Unacknowledged data older than this ends the session, on both ends; keepalives alone leave locks held."""

SERVER_OPTIONS: Mapping[str, str] = {
    "client_connection_check_interval": "1s",
    "tcp_user_timeout": f"{UNREACHABLE_MS}ms",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "4",
}
"""What the server is asked to do for each session; any role may set these for itself."""


def application_name(run: str) -> str:
    """The name that backends of `run` carry in `pg_stat_activity`."""
    return f"freshet-{run}"


def connect(
    server: DatabaseServer,
    database: str,
    login: Login,
    secrets: SecretFiles,
    *,
    run: str,
    autocommit: bool = False,
    replication: bool = False,
) -> psycopg.Connection:
    """Open a session in `database` on `server` as `login`.

    Args:
        server: the server, as in the estate.
        database: the database's name; derived names are allowed.
        login: the role and the name of its secret.
        secrets: where the secret's file lies.
        run: the run id, or another short word that says whose session it is.
        autocommit: each statement is its own transaction.
        replication: speak to the server's replication side, for which it keeps rules of its own.

    Raises:
        Unavailable: the secret cannot be read, or the server does not let the session in.
    """
    password = secrets.read(login.secret)
    try:
        return psycopg.connect(
            host=server.host,
            port=server.port,
            dbname=database,
            user=login.user,
            password=password.get_secret_value(),
            autocommit=autocommit,
            application_name=application_name(run),
            connect_timeout=CONNECT_SECONDS,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=4,
            tcp_user_timeout=UNREACHABLE_MS,
            client_encoding="UTF8",
            replication="true" if replication else "false",
            options=server_options(),
        )
    except psycopg.OperationalError as error:
        raise Unavailable(
            f"database '{database}' on server '{server.name}' does not let '{login.user}' in "
            f"({_reason(error)}); check that the server runs and that secret '{login.secret}' is current"
        ) from None


def server_options() -> str:
    """`SERVER_OPTIONS` as libpq's `options` parameter and `PGOPTIONS` want them."""
    return " ".join(f"-c {name}={value}" for name, value in SERVER_OPTIONS.items())


_PASSFILE = "pgpass-"


@contextmanager
def passfile(*access: tuple[DatabaseServer, Login], secrets: SecretFiles, scratch: Path) -> Iterator[Path]:
    """A libpq password file for client programs, for as long as the block lasts.

    Args:
        access: each server with the role that a client program uses there.
        secrets: where the secrets' files lie.
        scratch: the run's folder, mode 700.

    Yields:
        The file's path, for `PGPASSFILE`.

    Raises:
        Unavailable: a secret cannot be read.
    """
    lines = [
        f"{_escape(server.host)}:{server.port}:*:{_escape(login.user)}:{_password(secrets, login)}"
        for server, login in access
    ]
    path = scratch / f"{_PASSFILE}{random_names.token_hex(6)}"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        yield path
    finally:
        path.unlink(missing_ok=True)


def forget_passfiles(scratch: Path) -> int:
    """Remove the password files that a killed process left in `scratch`; how many there were."""
    found = list(scratch.glob(f"{_PASSFILE}*"))
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def client_environment(
    server: DatabaseServer, login: Login, *, database: str, passfile: Path, run: str
) -> dict[str, str]:
    """The whole environment of a client program (psql, pg_dump, pg_restore, pg_basebackup).

    Nothing is inherited but the search path for programs, so that no `PG…` variable or `psqlrc` of the
    machine changes what a client does.
    """
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LC_ALL": "C.UTF-8",
        "HOME": str(passfile.parent),
        "PSQLRC": os.devnull,
        "PSQL_HISTORY": os.devnull,
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": login.user,
        "PGDATABASE": database,
        "PGPASSFILE": str(passfile),
        "PGAPPNAME": application_name(run),
        "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS),
        "PGCLIENTENCODING": "UTF8",
        "PGOPTIONS": server_options(),
    }


def _password(secrets: SecretFiles, login: Login) -> str:
    password = secrets.read(login.secret).get_secret_value()
    if "\n" in password:
        raise Unavailable(
            f"secret '{login.secret}': a password of one line is needed; its file holds several"
        )
    return _escape(password)


def _escape(part: str) -> str:
    return part.replace("\\", "\\\\").replace(":", "\\:")


def _reason(error: psycopg.OperationalError) -> str:
    """The server's own words, on one line; libpq never repeats the password in them."""
    words = " ".join(str(error).split())
    return "".join(c if c.isprintable() else "?" for c in words)[-200:]
