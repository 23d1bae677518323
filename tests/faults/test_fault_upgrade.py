"""What keeps an upgrade from ending as a half: each of it is taken out, and users meet the half."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path

import pytest

from infra.stack.cluster import Cluster
from policy.names import Environment
from policy.request import Kind, Outcome
from tests.faults import leaf
from tests.faults.conftest import Begin, Damage, Meet, start_worker
from tests.faults.ground import PRODUCTION, SANDBOX, Ground, ground_on
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery, reached
from tests.faults.proxy import proxies
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

HALF = "upgrade.change_over.mid.3"
"""Production is migrated, the Sandbox half; the program is still the old one."""
PAGE = f"door: {leaf.CLOSED}"


@pytest.fixture
def ground(own_ground: Ground) -> Ground:
    """What is damaged stays so."""
    return own_ground


def test_without_putting_back_on_a_cancel_the_page_stays_and_the_upgrade_goes_on(
    ground: Ground, nursery: Nursery, meet: Meet, damage: Damage
) -> None:
    for without, page, outcome in (("", False, Outcome.PUT_BACK), ("cancel", True, Outcome.DONE)):
        trial = Trial(ground, nursery, Kind.UPGRADE)
        worker = meet(trial.request, HALF, rest=30, FRESHET_TEST_WITHOUT=without)
        worker.send(signal.SIGTERM)
        worker.wait()
        assert (ground.visit(PRODUCTION)[0] == PAGE) is page, worker.log
        if page:
            trial.hand_over()
        assert trial.judge(outcome) == []
    damage(
        22, "a cancelled upgrade leaves the maintenance page up, and the next worker carries it to its end"
    )


def test_without_regard_for_a_second_signal_the_site_is_locked(
    ground: Ground, nursery: Nursery, begin: Begin, tmp_path: Path, damage: Damage
) -> None:
    points = ("upgrade.change_over.mid.3", "upgrade.change_over.undo.mid.2")
    for without, outcome in (("", Outcome.PUT_BACK), ("second signal", Outcome.STUCK)):
        trial = Trial(ground, nursery, Kind.UPGRADE)
        trace = tmp_path / f"trace-{trial.request}"
        worker = begin(
            trial.request,
            ",".join(f"{point}=sleep:30" for point in points),
            FRESHET_TEST_TRACE=str(trace),
            FRESHET_TEST_WITHOUT=without,
        )
        for point in points:
            wait_until(partial(reached, trace, point))
            worker.send(signal.SIGTERM)
        worker.wait()
        if ground.request(trial.request).outcome is None:
            trial.hand_over()
            assert trial.judge(Outcome.PUT_BACK) == []
        assert ground.request(trial.request).outcome is outcome, worker.log
    assert dict(ground.production_digests()) == trial.production
    damage(22, "a second signal during the put-back counts as its failure and locks the site")


def test_without_patience_a_ledger_that_is_away_for_a_moment_leaves_the_page_up(
    live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path, nursery: Nursery, damage: Damage
) -> None:
    with (
        proxies(ledger=trial_cluster.port) as cuts,
        ground_on(live_cluster, trial_cluster, tmp_path / "cut", {"ledger": cuts["ledger"].port}) as ground,
    ):
        for without, page in (("", False), ("ledger patience", True)):
            trial = Trial(ground, nursery, Kind.UPGRADE)
            trace = tmp_path / f"trace-{trial.request}"
            told = {
                "FRESHET_FAILPOINT": f"{HALF}=sleep:1",
                "FRESHET_TEST_WITHOUT": without,
                "FRESHET_TEST_TRACE": str(trace),
            }
            worker = start_worker(nursery, ground, trial.request, told)
            wait_until(partial(reached, trace, HALF))
            cuts["ledger"].cut()
            time.sleep(3)
            cuts["ledger"].mend()
            worker.wait()
            assert (ground.visit(PRODUCTION)[0] == PAGE) is page, worker.log
            assert worker.told["name"] == ("Interrupted" if page else "Completed"), worker.log
            if page:
                trial.hand_over()
            assert trial.judge(Outcome.DONE) == []
    damage(24, "a ledger that is away for three seconds leaves an upgrade in its middle, its page up")


def test_without_the_snapshots_the_old_program_meets_the_new_schema(
    ground: Ground, nursery: Nursery, begin: Begin, damage: Damage
) -> None:
    for without, outcome in (("", Outcome.PUT_BACK), ("restore", Outcome.STUCK)):
        trial = Trial(ground, nursery, Kind.UPGRADE)
        worker = begin(trial.request, f"{HALF}=raise", FRESHET_TEST_WITHOUT=without)
        worker.wait()
        assert ground.request(trial.request).outcome is outcome, worker.log
        if outcome is Outcome.PUT_BACK:
            assert trial.judge(outcome) == []
    host = ground.host(PRODUCTION)
    with ground.session(PRODUCTION) as session:
        assert (host.running, leaf.version_of(session)) == ("1.0.0", "2.0.0")
    assert host.door(Environment.PRODUCTION) == host.door(Environment.SANDBOX) == leaf.CLOSED
    with ground.session(SANDBOX) as session:
        assert session.execute("SELECT to_regclass('labels') IS NOT NULL").fetchone() == (True,)
        assert leaf.version_of(session) == "1.0.0"
    now = dict(ground.production_digests())
    changed = {name.table for name in trial.production if now[name] != trial.production[name]}
    assert changed == {"schema_version"}, "no row of a customer is lost even so"
    damage(25, "the old program meets Production's new schema and half of one in the Sandbox: both stay shut")


def test_a_put_back_waits_for_a_session_that_nobody_may_end(
    ground: Ground, nursery: Nursery, meet: Meet
) -> None:
    """A person looks at the database with more rights than Freshet has, and goes a little later."""
    trial = Trial(ground, nursery, Kind.UPGRADE)
    worker = meet(
        trial.request, "upgrade.check_health.after-intent", also="upgrade.check_health.after-act=raise"
    )
    with ground.session(SANDBOX) as superuser:
        superuser.execute("SELECT 1")
        time.sleep(10)
    worker.wait()
    assert worker.told["name"] == "Put Back", worker.log
    assert "sessions of postgres keep it busy and cannot be ended" in worker.log
    assert trial.judge(Outcome.PUT_BACK) == []
