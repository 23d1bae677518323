"""Servers of version 16 for the tests of an upgrade, each from a copy of one that has odd objects in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from infra.postgres import engine_census as census
from infra.stack.cluster import Cluster, PostgresVersion
from tasks.step import Work
from tests.integration.copies import TORTURE
from tests.integration.engine_runs import QUICK, WORD, Server, copied
from tests.ports import free_port

Start = Callable[..., Server]


def version_16(folder: Path) -> Path:
    """The files of a stopped cluster of version 16 with odd objects in it, and a superuser's password."""
    word = folder / "word"
    word.write_text(WORD + "\n")
    word.chmod(0o600)
    cluster = Cluster(
        data=folder / "data",
        port=free_port(),
        version=PostgresVersion.V16,
        settings=QUICK,
        superuser_passfile=word,
    )
    cluster.initialise()
    cluster.start()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        for role in ("copy_owner", "copy_reader", "copy_partner"):
            connection.execute(f"create role {role} login password '{role}:\"word\"'")
        connection.execute("create role \"Ro'le: odd\" connection limit 3 valid until '2030-01-01'")
        connection.execute("grant copy_reader to copy_partner with admin option")
        connection.execute("alter role copy_owner set statement_timeout = '7min'")
        connection.execute("create database lakeside owner copy_owner")
        connection.execute('create database "od\'d \\ name" owner copy_partner connection limit 9')
        connection.execute("alter database lakeside set search_path = app, public")
        connection.execute("alter role copy_reader in database lakeside set work_mem = '7MB'")
        connection.execute("alter database postgres set lock_timeout = '9s'")
    with psycopg.connect(cluster.dsn("lakeside"), autocommit=True) as connection:
        torture = TORTURE.read_text().replace("provider = builtin, locale = 'C.UTF-8'", "locale = 'C'")
        connection.execute(torture.encode())
        connection.execute("reset role")
        connection.execute("select lo_from_bytea(4711, decode(repeat('ab01', 5000), 'hex'))")
        connection.execute("alter large object 4711 owner to copy_owner")
        connection.execute("create table old_vectors (v vector(3))")
        connection.execute(
            "insert into old_vectors select array[g, 1, 2]::vector from generate_series(1, 500) g"
        )
        connection.execute("create index on old_vectors using hnsw (v vector_l2_ops)")
        connection.execute("analyze")
    with psycopg.connect(cluster.dsn("od'd \\ name"), autocommit=True) as connection:
        connection.execute("create extension vector")
        # The programs bring one version only; an older one is only said to be there.
        connection.execute("update pg_extension set extversion = '0.8.4' where extname = 'vector'")
        connection.execute(
            "create table plain as select g as id, md5(g::text) as word from generate_series(1, 3000) g"
        )
    cluster.stop()
    return cluster.data


@contextmanager
def starting(original: Path, folder: Path) -> Iterator[Start]:
    """Starts servers of version 16, each from a copy of the original, and stops whatever became of them."""
    started: list[Server] = []

    def begin(*, secret: bool = True, **more: object) -> Server:
        started.append(copied(original, folder / f"s{len(started)}", secret=secret, **more))
        return started[-1]

    try:
        yield begin
    finally:
        for server in started:
            server.stop()
            assert server.processes() == []
            shutil.rmtree(server.folder)


def none(_work: Work) -> None:
    """Nothing is to be taken back."""


def files(folder: Path) -> dict[str, float]:
    """Every file below `folder` and when it was last written, but for the journals of servers that run."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(folder / "state")
    }


def lacking(server: Server) -> int:
    """Tables of which the planner knows nothing."""
    found = 0
    for database in server.databases():
        with server.connect(database) as connection:
            found += census.without_statistics(connection)
    return found


def put_back_whole(server: Server, before: dict[str, object]) -> None:
    """The old version serves, everything is as it was, nothing is left over but the evidence."""
    assert server.version() == 16
    assert server.digests() == before
    assert server.old.running()
    assert not server.new.data.exists()
    assert server.processes() == []
    assert server.beside() in ([], ["new.failed_r7a1"])
