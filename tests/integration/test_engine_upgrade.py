"""A PostgreSQL server from version 16 to 18, an application on it, and what is in the way."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from infra.application_trial import trial
from infra.stack.cloning import can_clone
from policy.errors import Refused, StepFailed
from policy.journal import Finish
from policy.names import RunId
from tasks.engine_check import check_engine
from tasks.engine_prepare import prepare_engine
from tasks.engine_sequence import engine_steps
from tasks.engine_stages import engine_of, engine_stages
from tasks.engine_upgrade import upgrade_engine
from tasks.step import Step, Work
from tests.integration.engine_runs import Server
from tests.integration.engine_servers import Start, files, lacking, none, put_back_whole

pytestmark = pytest.mark.timeout(600)
STEPS = engine_steps()
RECORD = "/v1/buckets/district/collections/students/records/s1"


@pytest.mark.slow
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


def test_cloning_is_refused_where_the_file_system_cannot(start: Start) -> None:
    server = start(mode="clone")
    if can_clone(server.folder):
        pytest.skip("this file system shares blocks")
    work = server.work()
    assert work.carry_out([check_engine]) is Finish.PUT_BACK
    assert "cannot share blocks" in str(work.errors[0])
    assert server.version() == 16
