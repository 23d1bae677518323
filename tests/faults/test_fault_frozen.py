"""A worker that is frozen past its lease and wakes up touches nothing; of many claimants one gets the run."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from policy.errors import Busy
from policy.journal import Finish
from policy.names import RequestId, RunId, incoming_name
from policy.request import Kind, Outcome, Status
from tasks.claim import claim
from tasks.conclude import conclude
from tasks.display import PlainDisplay
from tasks.hold import Hold
from tests.faults.conftest import Begin
from tests.faults.ground import LEASE, SANDBOX, STAGING, Ground
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery, Worker
from tests.waiting import wait_until

ROUNDS = 8
CLAIMANTS = 4


def frozen(trial: Trial, begin: Begin, point: str) -> Worker:
    """A worker that froze at `point`, and whose lease has really run out."""
    worker: Worker = begin(trial.request, f"{point}=stop")
    wait_until(lambda: worker.ended.is_set() or worker.stopped)
    assert not worker.ended.is_set(), worker.log
    time.sleep(LEASE + 0.2)
    return worker


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("refresh.claim.mid", marks=pytest.mark.slow),
        pytest.param("refresh.copy_masked.mid", marks=pytest.mark.slow),
        pytest.param("refresh.swap.before-intent", marks=pytest.mark.slow),
        "refresh.swap.mid",
        pytest.param("refresh.conclude.mid", marks=pytest.mark.slow),
        pytest.param("upgrade.take_snapshot.mid", marks=pytest.mark.slow),
        pytest.param("upgrade.change_over.mid.2", marks=pytest.mark.slow),
    ],
)
def test_a_frozen_worker_that_wakes_touches_nothing(
    ground: Ground, nursery: Nursery, begin: Begin, point: str
) -> None:
    trial = Trial.up_to(point, ground, nursery)
    first = frozen(trial, begin, point)
    trial.resume()
    after = journal(ground, trial.request)
    first.send(signal.SIGCONT)
    assert first.wait() == 0
    # Its own end is told as it is; when it was about to conclude, the end that it finds is its own.
    assert first.told["name"] == ("Completed" if "conclude" in point else "Not Now"), first.log
    assert journal(ground, trial.request) == after
    assert trial.judge(Outcome.DONE) == []


@pytest.mark.slow
def test_a_worker_that_wakes_while_the_next_one_copies_writes_nothing_into_the_copy(
    ground: Ground, nursery: Nursery, begin: Begin
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    first = frozen(trial, begin, "refresh.copy_masked.mid")
    # The second stands still at the same place: the database that both know is empty, and lets both in.
    second = begin(trial.request, "refresh.copy_masked.mid=sleep:5")
    wait_until(lambda: "copying by the method" in second.log)
    first.send(signal.SIGCONT)
    assert first.wait() == 0
    assert first.told["name"] == "Not Now", first.log
    incoming = incoming_name(ground.estate.site(STAGING).database, RunId.of(trial.request, 1))
    with psycopg.connect(ground.trial.dsn(incoming)) as session:
        row = session.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone()
    assert not second.ended.is_set(), "the second was too fast for this test to mean anything"
    assert row == (0,)
    assert second.wait() == 0
    assert trial.judge(Outcome.DONE) == []


@pytest.mark.slow
def test_a_worker_that_wakes_in_its_claim_ends_no_session_of_the_next_one(
    ground: Ground, nursery: Nursery, begin: Begin
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    first = frozen(trial, begin, "refresh.claim.mid")
    second = begin(trial.request, "refresh.neutralise.mid=sleep:5")
    wait_until(lambda: "Neutralise" in second.log and bool(backends(ground, trial.request)))
    time.sleep(0.5)
    sessions = backends(ground, trial.request)
    first.send(signal.SIGCONT)
    assert first.wait() == 0
    assert first.told["name"] == "Not Now", first.log
    assert sessions
    assert sessions <= backends(ground, trial.request)
    assert second.wait() == 0
    assert "trying again" not in second.log
    assert trial.judge(Outcome.DONE) == []


@pytest.mark.slow
def test_a_frozen_worker_does_not_swap_back_what_was_put_back(
    ground: Ground, nursery: Nursery, begin: Begin
) -> None:
    """Both go back; the one that wakes finds its own name in the world as it expects it, and leaves it."""
    trial = Trial(ground, nursery, Kind.REFRESH)
    trial.work(failpoint="refresh.check_health.after-act=raise,refresh.swap.undo.before-intent=kill")
    ground.let_lease_end()
    first = frozen(trial, begin, "refresh.swap.undo.mid")
    trial.resume()
    first.send(signal.SIGCONT)
    assert first.wait() == 0
    assert first.told["name"] == "Not Now", first.log
    assert trial.judge(Outcome.PUT_BACK) == []


def test_of_many_workers_that_claim_at_once_one_gets_it(ground: Ground) -> None:
    for number in range(ROUNDS):
        request = ground.ask(Kind.REFRESH, SANDBOX if number % 2 else STAGING)
        barrier = threading.Barrier(CLAIMANTS)
        with ThreadPoolExecutor(CLAIMANTS) as pool:
            got = list(pool.map(lambda _, r=request, b=barrier: attempt(ground, r, b), range(CLAIMANTS)))
        holds = [hold for hold in got if hold is not None]
        assert len(holds) == 1
        with ground.world.ledger.transaction() as connection:
            rows = connection.execute(
                "select count(*) as n from run where request = %s", (request.number,)
            ).fetchone()
        assert rows == {"n": 1}
        assert ground.request(request).status is Status.IN_PROGRESS
        end(holds)


@pytest.mark.slow
def test_two_workers_on_one_abandoned_run_are_never_both_let_in(
    ground: Ground, nursery: Nursery, begin: Begin
) -> None:
    for _ in range(3):
        trial = Trial(ground, nursery, Kind.REFRESH)
        assert trial.work(failpoint="refresh.neutralise.mid=kill") == -signal.SIGKILL
        ground.let_lease_end()
        both = [begin(trial.request) for _ in range(2)]
        assert [worker.wait() for worker in both] == [0, 0]
        assert sorted(str(worker.told["name"]) for worker in both) == ["Completed", "Not Now"]
        assert trial.judge(Outcome.DONE) == []


def attempt(ground: Ground, request: RequestId, barrier: threading.Barrier) -> Hold | None:
    """Claim at the same moment as the others."""
    barrier.wait(60)
    try:
        return claim(ground.world, request, lambda *_: None)
    except Busy:
        return None


def end(holds: list[Hold]) -> None:
    """Conclude without having done anything, as if put back."""
    for hold in holds:
        with hold:
            conclude(hold, Finish.PUT_BACK, PlainDisplay())


def journal(ground: Ground, request: RequestId) -> list[dict[str, object]]:
    with ground.world.ledger.transaction() as connection:
        return connection.execute(
            "select * from step where run = %s order by position", (f"r{request.number}a1",)
        ).fetchall()


def backends(ground: Ground, request: RequestId) -> set[int]:
    """The process ids of the run's sessions, on both servers."""
    found: set[int] = set()
    for cluster in (ground.live, ground.trial):
        with ground.admin(cluster) as session:
            rows = session.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND usename LIKE %s",
                [f"freshet-r{request.number}a1", f"%\\_{ground.word}"],
            ).fetchall()
            found |= {int(pid) for (pid,) in rows}
    return found
