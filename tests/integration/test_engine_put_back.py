"""An upgrade of a PostgreSQL server that is cut off, fails late or hangs: put back, or finished after all."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from psycopg.sql import SQL

from infra.ansible import end_leftovers
from policy.errors import StepFailed, TimedOut
from policy.journal import Entry, EntryState, Finish
from policy.names import RunId
from tasks.engine_prepare import prepare_engine
from tasks.engine_sequence import engine_steps
from tasks.engine_upgrade import upgrade_engine
from tasks.step import Step, Work
from tests.integration.engine_runs import Server
from tests.integration.engine_servers import Start, lacking, none, put_back_whole
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)
STEPS = engine_steps()


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
    wait_until(lambda: any("pg_restore" in words[0] for words in server.processes()), 120, rest=0.01)
    assert dead.pid is not None
    os.kill(dead.pid, signal.SIGKILL)
    dead.join()
    work = server.work(epoch=2)
    end_leftovers(work.run, 2, work.scratch)
    wait_until(lambda: server.processes() == [])
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
