"""A PostgreSQL server from version 16 to 18 and, whatever goes wrong, back."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.sql import SQL

from infra.ansible import end_leftovers
from infra.application_trial import trial
from infra.postgres import engine_census as census
from infra.stack.cloning import can_clone
from infra.stack.cluster import Cluster, PostgresVersion
from policy.errors import Refused, StepFailed, TimedOut
from policy.journal import Entry, EntryState, Finish
from policy.names import RunId
from tasks.engine_check import check_engine
from tasks.engine_prepare import prepare_engine
from tasks.engine_sequence import engine_steps
from tasks.engine_stages import engine_of, engine_stages
from tasks.engine_upgrade import upgrade_engine
from tasks.step import Step, Work
from tests.integration.copies import TORTURE
from tests.integration.engine_runs import QUICK, WORD, Server, copied, until
from tests.ports import free_port

Start = Callable[..., Server]
pytestmark = pytest.mark.timeout(600)
STEPS = engine_steps()
RECORD = "/v1/buckets/district/collections/students/records/s1"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped cluster of version 16 with odd objects in it, and a password for its superuser."""
    folder = tmp_path_factory.mktemp("engine")
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


@pytest.fixture
def start(original: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts servers of version 16, each from a copy of the original, and stops whatever became of them."""
    started: list[Server] = []

    def begin(*, secret: bool = True, **more: object) -> Server:
        started.append(copied(original, tmp_path / f"s{len(started)}", secret=secret, **more))
        return started[-1]

    yield begin
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


def test_an_application_moves_to_the_new_version(start: Start, tmp_path: Path) -> None:
    """Kinto serves before and after; check mode and a second run change nothing; the old files go last."""
    server = start(secret=False)
    place = tmp_path / "kinto"
    place.mkdir()
    with trial(place, server.old, key="lakeside/live", application="kinto") as site:
        site.go("23.1.0", "preflight", "install", run="r1a1", timeout_s=280)
        url, word = site.url("production"), site.secret("administrator")
        with httpx.Client(base_url=url, auth=("admin", word), trust_env=False) as client:
            for path in ("", "/collections/students"):
                client.put(f"/v1/buckets/district{path}").raise_for_status()
            client.put(RECORD, json={"data": {"name": "Ada Example"}}).raise_for_status()

            digests: list[dict[str, object]] = []

            def app(*stages: str) -> dict[str, object]:
                return {"changed": site.go("23.1.0", *stages, run="r7a1", timeout_s=280).changed}

            def close(_work: Work) -> dict[str, object]:
                told = app("stop")
                digests.append(server.digests())
                return told

            def reopen(_work: Work) -> dict[str, object]:
                digests.append(server.digests())
                return app("start")

            offline = Step(name="offline", title="Stop", done=lambda _: False, do=close, undo=none)
            online = Step(name="online", title="Start", done=lambda _: False, do=reopen, undo=none)
            work = server.work()
            dry = engine_stages(work, engine_of(work), "prepare", "close", "transfer", "open", check=True)
            assert dry.changed > 0
            assert server.version() == 16
            assert sorted(path.name for path in server.folder.glob("new*")) == []
            assert work.carry_out(engine_steps(offline=[offline], online=[online])) is Finish.DONE, (
                work.errors
            )
            assert server.version() == 18
            assert work.fact("upgrade_engine", "changed") == 4
            assert work.proofs >= 5
            found = client.get(RECORD).raise_for_status()
            assert found.json()["data"]["name"] == "Ada Example"
        app("stop")
        assert digests[0] == digests[1]
        assert len(digests[0]) == 5
        before = server.digests()
        assert lacking(server) == 0
        with server.connect("od'd \\ name") as connection:
            row = connection.execute(
                "select extversion from pg_extension where extname = 'vector'"
            ).fetchone()
            assert row == ("0.8.5",)
        assert server.beside() == []
        a_second_run_changes_nothing(server)
        assert server.digests() == before


def a_second_run_changes_nothing(server: Server) -> None:
    """Neither does another run's put-back; the old directory goes only when it is told to."""
    identity, written = server.new.system_identifier(), files(server.folder / "old")
    again = server.work(run=RunId("r8a1"))
    assert again.carry_out(STEPS) is Finish.DONE, again.errors
    assert again.fact("check_engine", "upgraded") is True
    assert again.fact("upgrade_engine", "changed") == 0
    assert again.fact("prepare_engine", "changed") == 0
    assert server.new.system_identifier() == identity
    assert files(server.folder / "old") == written
    # Another run's put-back must not take a finished upgrade away.
    with pytest.raises(StepFailed, match="by run r7a1"):
        engine_stages(again, engine_of(again), "put_back")
    assert server.version() == 18
    engine_stages(again, engine_of(again), "clean_up")
    assert not server.old.data.exists()


def test_what_is_in_the_way_is_told_before_anything_stops(start: Start) -> None:
    server = start()
    with server.connect("lakeside") as connection:
        connection.execute("select pg_create_physical_replication_slot('standby_one')")
        connection.execute("create database closed allow_connections false")
        connection.execute(
            "insert into pg_extension values (99999, 'not_there', 10, 2200, true, '1.0', null, null)"
        )
        connection.execute("begin")
        connection.execute("create table app.half ()")
        connection.execute("prepare transaction 'half'")
    with (server.old.data / "postgresql.conf").open("a") as conf:
        conf.write("external_pid_file = '/tmp/x.pid'\n")
    started = server.old.postmaster()
    work = server.work()
    assert work.carry_out(STEPS) is Finish.PUT_BACK
    told = str(work.errors[0])
    assert isinstance(work.errors[0], Refused)
    for words in (
        "slot 'standby_one'",
        "'closed' lets nobody in",
        "extension not_there",
        "prepared transactions",
        "external_pid_file",
    ):
        assert words in told
    with server.connect("lakeside") as connection:
        connection.execute("rollback prepared 'half'")
        connection.execute("drop database closed")
        connection.execute("delete from pg_extension where oid = 99999")
        connection.execute("select pg_drop_replication_slot('standby_one')")
    # What only pg_upgrade knows is told by the rehearsal: a type whose values do not survive.
    with server.connect("lakeside") as connection:
        connection.execute("create table app.callbacks (run regprocedure)")
    conf_file = server.old.data / "postgresql.conf"
    conf_file.write_text(conf_file.read_text().replace("external_pid_file = '/tmp/x.pid'\n", ""))
    work = server.work()
    assert work.carry_out([check_engine]) is Finish.PUT_BACK
    assert "callbacks" in str(work.errors[0])
    with server.connect("lakeside") as connection:
        connection.execute("drop table app.callbacks")
    # So is a setting that the new version does not know any more.
    with (server.old.data / "postgresql.auto.conf").open("a") as conf:
        conf.write("old_snapshot_threshold = -1\n")
    work = server.work()
    assert work.carry_out([check_engine]) is Finish.PUT_BACK
    assert "old_snapshot_threshold" in str(work.errors[0])
    assert server.old.postmaster() == started
    assert server.beside() == []
    assert server.processes() == []


def test_what_blocks_in_the_middle_is_put_back_and_named(start: Start) -> None:
    server = start()
    with server.connect("lakeside") as connection:
        connection.execute("create table app.callbacks (run regprocedure)")
    before = server.digests()
    work = server.work()
    assert work.carry_out([prepare_engine, upgrade_engine]) is Finish.PUT_BACK
    assert "callbacks.run" in str(work.errors[0])
    assert len(work.errors) == 1
    put_back_whole(server, before)
    assert (server.folder / "new.failed_r7a1" / "pg_upgrade_output.d").is_dir()


@pytest.mark.slow
def test_a_killed_pg_upgrade_is_put_back_and_the_next_attempt_succeeds(start: Start, tmp_path: Path) -> None:
    server = start()
    outside = server.folder / "tablespace"
    outside.mkdir()
    with server.connect("lakeside") as connection:
        connection.execute(SQL("create tablespace fast location {}").format(str(outside)))
        connection.execute("create table app.fast tablespace fast as select generate_series(1, 2000) g")
    before = server.digests()
    work = server.work(meanwhile=server.when_restoring(lambda process: os.kill(process, signal.SIGKILL)))
    assert work.carry_out([prepare_engine, upgrade_engine]) is Finish.PUT_BACK
    assert "pg_upgrade" in str(work.errors[0])
    put_back_whole(server, before)
    assert [path.name[:5] for path in outside.iterdir()] == ["PG_16"]
    again = server.work(run=RunId("r7a2"))
    assert again.carry_out([prepare_engine, upgrade_engine]) is Finish.DONE, again.errors
    assert server.version() == 18
    assert server.digests() == before


@pytest.mark.slow
def test_a_killed_worker_s_upgrade_is_taken_up_and_finished(start: Start) -> None:
    server = start()
    before = server.digests()
    dead = multiprocessing.get_context("fork").Process(
        target=lambda: server.work().carry_out([prepare_engine, upgrade_engine])
    )
    dead.start()
    until(lambda: any("pg_restore" in words[0] for words in server.processes()), 120)
    assert dead.pid is not None
    os.kill(dead.pid, signal.SIGKILL)
    dead.join()
    work = server.work(epoch=2)
    end_leftovers(work.run, 2, work.scratch)
    until(lambda: server.processes() == [])
    done = Entry(step="prepare_engine", state=EntryState.DONE)
    begun = Entry(step="upgrade_engine", state=EntryState.INTENDED)
    work.journal = {done.step: done, begun.step: begun}
    assert work.carry_out([prepare_engine, upgrade_engine]) is Finish.DONE, work.errors
    assert server.version() == 18
    assert server.digests() == before
    assert server.beside() == []


def fail_late(server: Server) -> Step:
    """Somebody has already written into the new version when it fails."""

    def act(_work: Work) -> dict[str, object]:
        with server.connect("lakeside") as connection:
            connection.execute("update app.person set amount = 0")
            connection.execute("vacuum full app.person")
            connection.execute("checkpoint")
        raise StepFailed("the application does not start")

    return Step(name="late", title="Start", done=lambda _: False, do=act, undo=none)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["copy", "link"])
def test_a_late_failure_is_put_back_although_the_new_version_has_run(start: Start, mode: str) -> None:
    server = start(mode=mode)
    before = server.digests()
    work = server.work()
    assert work.carry_out([upgrade_engine, fail_late(server)]) is Finish.PUT_BACK
    assert str(work.errors[0]) == "the application does not start"
    put_back_whole(server, before)


@pytest.mark.slow
def test_the_fallback_by_dump(start: Start) -> None:
    server = start(mode="dump")
    before = server.digests()
    work = server.work()
    assert work.carry_out(STEPS) is Finish.DONE, work.errors
    assert server.version() == 18
    assert server.digests() == before
    assert lacking(server) == 0
    assert server.beside() == []


@pytest.mark.slow
def test_what_hangs_is_ended_in_time_and_put_back(start: Start) -> None:
    server = start(timeout_s=25)
    before = server.digests()
    work = server.work(meanwhile=server.when_restoring(lambda process: os.kill(process, signal.SIGSTOP)))
    assert work.carry_out([prepare_engine, upgrade_engine]) is Finish.PUT_BACK
    assert isinstance(work.errors[0], TimedOut)
    put_back_whole(server, before)


def test_cloning_is_refused_where_the_file_system_cannot(start: Start) -> None:
    server = start(mode="clone")
    if can_clone(server.folder):
        pytest.skip("this file system shares blocks")
    work = server.work()
    assert work.carry_out([check_engine]) is Finish.PUT_BACK
    assert "cannot share blocks" in str(work.errors[0])
    assert server.version() == 16
