"""Failures, cancels and time-outs at every stage of an upgrade, with real playbooks: old or new, whole."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from prefect.exceptions import TerminationSignal

from infra.failpoints import Moment
from infra.stack.cluster import Cluster
from policy.request import Kind, Outcome
from tests.faults.matrix import MIDDLES, steps_of
from tests.playbooks.test_upgrades import NEW, OLD, run_of, whole
from tests.playbooks.upgrade_ground import PRODUCTION, SANDBOX, UpgradeGround, upgrade_ground

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STEPS = [step.name for step in steps_of(Kind.UPGRADE)]
PLACES = [
    f"{step}.{moment}"
    for step in STEPS
    for moment in (Moment.AFTER_INTENT, Moment.MID, Moment.AFTER_ACT)
    if moment is not Moment.MID or step in MIDDLES[Kind.UPGRADE]
]
STAGES = (
    "preflight",
    "stage_release",
    "maintenance_on",
    "stop",
    "migrate",
    "switch",
    "start",
    "maintenance_off",
)
LIMIT_S = 30
"""Longer than any stage takes when nothing hangs, also on a busy machine."""


@pytest.fixture(scope="module")
def ground(
    tmp_path_factory: pytest.TempPathFactory, live_cluster: Cluster, trial_cluster: Cluster
) -> Iterator[UpgradeGround]:
    with upgrade_ground(live_cluster, trial_cluster, tmp_path_factory.mktemp("matrix")) as made:
        yield made


def put_back(ground: UpgradeGround) -> str:
    """Ask for the upgrade, see it put back whole with nothing but the evidence left; returns the reason."""
    sites = (PRODUCTION, SANDBOX)
    before = {site: ground.data(site) for site in sites}
    request = ground.carry_out(ground.ask(NEW))
    assert request.outcome is Outcome.PUT_BACK, request.reason
    whole(ground, OLD, request)
    assert {site: ground.data(site) for site in sites} == before
    run = run_of(request)
    evidence = {f"{ground.database(site)}__fail_{run}" for site in sites}
    assert set(ground.databases()) - {ground.database(site) for site in sites} <= evidence
    ground.drop(evidence)
    ground.acknowledge()
    return request.reason


@pytest.mark.parametrize("place", PLACES)
def test_a_failure(ground: UpgradeGround, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_FAILPOINT", f"upgrade.{place}=raise")
    assert "failed on purpose" in put_back(ground)


@contextmanager
def cancelled_when(gone: str) -> Iterator[None]:
    """Cancel this process's work, as Prefect does, as soon as the file `gone` is no longer there."""

    def cancel(number: int, _: FrameType | None) -> None:
        raise TerminationSignal(signal=number)

    def watch() -> None:
        while os.path.exists(gone):  # noqa: PTH110 - asked thousands of times
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, cancel)
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("stage", STAGES)
def test_a_cancel_while_it_hangs(ground: UpgradeGround, stage: str) -> None:
    hang = ground.root / f"hang-{stage}"
    hang.touch()
    with cancelled_when(str(hang)):
        assert "cancelled" in put_back(ground)


@pytest.mark.parametrize("stage", ["stage_release", "stop", "migrate", "start"])
def test_a_time_out(ground: UpgradeGround, stage: str) -> None:
    ground.declare(stage_timeout_s=LIMIT_S)
    (ground.root / f"hang-{stage}").touch()
    try:
        assert "not done in time" in put_back(ground)
    finally:
        ground.declare()


def test_a_failure_with_the_snapshot_in_files(ground: UpgradeGround, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.declare(snapshot="dump")
    monkeypatch.setenv("FRESHET_FAILPOINT", "upgrade.check_health.after-act=raise")
    try:
        assert "failed on purpose" in put_back(ground)
    finally:
        ground.declare()


def test_after_all_of_it_the_upgrade_succeeds(ground: UpgradeGround) -> None:
    done = ground.carry_out(ground.ask(NEW))
    assert done.outcome is Outcome.DONE, done.reason
    whole(ground, NEW, done)
