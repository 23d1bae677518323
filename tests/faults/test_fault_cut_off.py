"""The ledger, Production or the target is cut off during a run: it goes on, is resumed, or is put back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from infra.stack.cluster import Cluster
from policy.request import Kind, Outcome
from tests.faults.conftest import Begin, Meet
from tests.faults.ground import Ground, ground_on
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery
from tests.faults.proxy import Proxy, proxies

Cuts = dict[str, Proxy]


@pytest.fixture(scope="module")
def cuts(live_cluster: Cluster, trial_cluster: Cluster) -> Iterator[Cuts]:
    with proxies(live=live_cluster.port, trial=trial_cluster.port, ledger=trial_cluster.port) as made:
        yield made


@pytest.fixture(scope="module")
def ground(
    live_cluster: Cluster, trial_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, cuts: Cuts
) -> Iterator[Ground]:
    ports = {name: proxy.port for name, proxy in cuts.items()}
    with ground_on(live_cluster, trial_cluster, tmp_path_factory.mktemp("cut"), ports) as made:
        yield made


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("refresh.neutralise.mid", marks=pytest.mark.slow),
        pytest.param("upgrade.change_over.mid.3", marks=pytest.mark.slow),
        "upgrade.conclude.mid",
    ],
)
def test_a_run_outlives_a_short_absence_of_the_ledger(
    ground: Ground, nursery: Nursery, cuts: Cuts, meet: Meet, point: str
) -> None:
    trial = Trial.up_to(point, ground, nursery)
    worker = meet(trial.request, point)
    cuts["ledger"].cut_for(4)
    trial.check(worker, "Completed", Outcome.DONE)


@pytest.mark.slow
def test_sessions_of_the_ledger_that_are_ended_again_and_again_change_nothing(
    ground: Ground, nursery: Nursery, begin: Begin
) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    worker = begin(trial.request)
    ended = 0
    with ground.admin(ground.trial) as session:
        while not worker.ended.is_set():
            row = session.execute(
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = %s AND random() < 0.3",
                [ground.ledger_database],
            ).fetchone()
            ended += row[0] if row else 0
            time.sleep(0.02)
    assert worker.wait() == 0
    assert ended, "nothing was ended, so nothing was tried"
    if worker.told["name"] != "Completed":
        trial.hand_over()
    assert trial.judge(Outcome.DONE) == []


@pytest.mark.slow
def test_a_ledger_that_stays_away_stops_the_worker_before_its_next_act(
    ground: Ground, nursery: Nursery, cuts: Cuts, meet: Meet
) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    worker = meet(trial.request, "upgrade.take_offline.after-outcome", FRESHET_TEST_PATIENCE="2")
    cuts["ledger"].cut()
    assert worker.wait() == 0
    assert worker.told["name"] == "Interrupted", worker.log
    with ground.admin(ground.live) as session:
        made = session.execute(
            "SELECT count(*) FROM pg_database WHERE datname LIKE %s", [f"%\\_{ground.word}\\_\\_snap%"]
        ).fetchone()
    assert made == (0,)
    cuts["ledger"].mend()
    trial.hand_over()
    assert trial.judge(Outcome.DONE) == []


@pytest.mark.slow
def test_production_that_is_lost_in_the_middle_of_the_copy_is_read_again(
    ground: Ground, nursery: Nursery, cuts: Cuts, meet: Meet
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    worker = meet(trial.request, "refresh.copy_masked.mid")
    before = cuts["live"].cuts
    cuts["live"].cut_after(100_000)
    trial.check(worker, "Completed", Outcome.DONE)
    assert cuts["live"].cuts == before + 1
    assert "trying again" in worker.log


@pytest.mark.slow
def test_production_that_stays_away_leaves_the_target_as_it_was(
    ground: Ground, nursery: Nursery, cuts: Cuts, meet: Meet
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    worker = meet(trial.request, "refresh.copy_masked.mid")
    cuts["live"].cut()
    assert worker.wait() == 0
    assert worker.told["name"] == "Put Back", worker.log
    cuts["live"].mend()
    assert trial.judge(Outcome.PUT_BACK) == []


@pytest.mark.slow
@pytest.mark.parametrize("point", ["refresh.preserve.mid", "refresh.swap.mid", "upgrade.change_over.mid.3"])
def test_a_target_that_is_lost_for_a_moment_is_found_again(
    ground: Ground, nursery: Nursery, cuts: Cuts, meet: Meet, point: str
) -> None:
    trial = Trial.up_to(point, ground, nursery)
    worker = meet(trial.request, point)
    cuts["trial"].cut_for(2.5)
    trial.check(worker, "Completed", Outcome.DONE)


@pytest.mark.slow
def test_a_put_back_waits_for_a_target_that_was_lost(
    ground: Ground, nursery: Nursery, cuts: Cuts, meet: Meet
) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    worker = meet(
        trial.request, "upgrade.change_over.undo.mid.2", also="upgrade.check_health.after-act=raise"
    )
    cuts["trial"].cut_for(8)
    trial.check(worker, "Put Back", Outcome.PUT_BACK)


@pytest.mark.slow
def test_a_server_that_dies_in_the_swap_has_swapped_or_not(
    ground: Ground, nursery: Nursery, cuts: Cuts, meet: Meet
) -> None:
    """The answer to the commit is lost, whatever it was; looking tells."""
    for allowed in (1, 400, 900, 1600):
        trial = Trial(ground, nursery, Kind.REFRESH)
        worker = meet(trial.request, "refresh.swap.mid", rest=1)
        cuts["trial"].cut_after(allowed)
        trial.check(worker, "Completed", Outcome.DONE)


def test_the_proxy_cuts(live_cluster: Cluster, cuts: Cuts) -> None:
    where = f"host=127.0.0.1 port={cuts['live'].port} user=postgres dbname=postgres connect_timeout=3"
    with psycopg.connect(where) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
        cuts["live"].cut()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(where)
    cuts["live"].mend()
    psycopg.connect(where).close()
