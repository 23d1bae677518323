"""A PostgreSQL server that is to change its major version: what is declared of it, and a session on it.

Invariant: the old and the new data directory are two; the old one is not written to by the new version, so
that the way back is to start it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import psycopg

from infra.postgres.session import CONNECT_SECONDS, UNREACHABLE_MS, application_name, server_options
from infra.secrets import SecretFiles
from policy.errors import Refused, Unavailable
from policy.machines import DatabaseServer, Host
from policy.names import SecretName

Session = psycopg.Connection[tuple[object, ...]]


class Mode(StrEnum):
    """How the files of the old version get into the new one. Source: pg_upgrade's own modes, and a dump."""

    AUTO = "auto"
    CLONE = "clone"
    COPY = "copy"
    LINK = "link"
    DUMP = "dump"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One version of the server on its host.

    Attributes:
        bin: the folder of its programs.
        data: its data directory, which holds its configuration files as well.
        service: the systemd unit that is the server, or None when pg_ctl starts it.
    """

    bin: str
    data: str
    service: str | None = None


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A declared change of a server's version.

    Attributes:
        host: the machine that it runs on.
        address: where the machine itself reaches the server, for client programs there.
        superuser: the role that made the cluster; `secret` holds its password, None means it is trusted.
        prefix: words before each command that make it the server's user; none when the user who logs in is.
        jobs: how many databases or tables are worked on at once.
        full_analyze: collect all statistics anew before the application starts, not only missing ones.
        environment: added to the server's environment.
    """

    server: DatabaseServer
    host: Host
    superuser: str
    secret: SecretName | None
    old: Place
    new: Place
    mode: Mode = Mode.AUTO
    address: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()
    jobs: int = 2
    full_analyze: bool = False
    timeout_s: float = 7200.0
    environment: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.old.data == self.new.data:
            raise Refused(
                f"engine of '{self.server.name}': the new version needs a data directory of its own; "
                "the old one is the way back"
            )


def variables(engine: Engine, secrets: SecretFiles, template: tuple[str, ...]) -> dict[str, object]:
    """What the role `postgres_engine` is told; a secret only as the path of its file."""
    told: dict[str, object] = {
        "host": engine.address,
        "port": engine.server.port,
        "superuser": engine.superuser,
        "old": _place(engine.old),
        "new": _place(engine.new),
        "mode": engine.mode.value,
        "prefix": list(engine.prefix),
        "jobs": engine.jobs,
        "timeout_s": engine.timeout_s,
        "environment": dict(engine.environment),
        "template": list(template),
    }
    if engine.secret is not None:
        told["password_file"] = str(secrets.path(engine.secret).absolute())
    return {"engine": told}


def _place(place: Place) -> dict[str, object]:
    return {"bin": place.bin, "data": place.data, "service": place.service or ""}


@contextmanager
def session(engine: Engine, database: str, secrets: SecretFiles, *, run: str) -> Iterator[Session]:
    """An autocommit session of the superuser in `database`.

    Raises:
        Unavailable: the server does not let it in.
    """
    password = None if engine.secret is None else secrets.read(engine.secret).get_secret_value()
    try:
        connection = psycopg.connect(
            host=engine.server.host,
            port=engine.server.port,
            dbname=database,
            user=engine.superuser,
            password=password,
            autocommit=True,
            application_name=application_name(run),
            connect_timeout=CONNECT_SECONDS,
            tcp_user_timeout=UNREACHABLE_MS,
            options=server_options(),
        )
    except psycopg.OperationalError as error:
        words = " ".join(str(error).split())[-200:]
        raise Unavailable(
            f"server '{engine.server.name}' does not let '{engine.superuser}' in ({words})"
        ) from None
    with connection:
        yield connection


def major(connection: Session) -> int:
    """The server's major version."""
    return connection.info.server_version // 10_000


def databases(connection: Session) -> tuple[str, ...]:
    """Every database that lets somebody in, templates included."""
    rows = connection.execute("select datname from pg_database where datallowconn order by datname")
    return tuple(str(row[0]) for row in rows)


def system_identifier(connection: Session) -> str:
    """The cluster's own identity; another one after every upgrade."""
    row = connection.execute("select system_identifier::text from pg_control_system()").fetchone()
    return "" if row is None else str(row[0])
