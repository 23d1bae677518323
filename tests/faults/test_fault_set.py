"""Random faults while people work: nothing acknowledged is lost, nothing is mixed, nothing unmasked."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator

import pytest

from infra.stack.cluster import Cluster
from tests.faults.ground import PRODUCTION, SANDBOX, Ground, ground_on
from tests.faults.nursery import Nursery
from tests.faults.proxy import Proxy, proxies
from tests.faults.set_trial import SetTrial
from tests.faults.visitors import visitors

Record = Callable[[str, object], None]
SHORT_S = 25.0
LONG = "FRESHET_SET_TEST_SECONDS"
"""Environment variable: how long the long one takes."""
SEED = "FRESHET_SET_TEST_SEED"


@pytest.fixture(scope="module")
def cuts(live_cluster: Cluster, trial_cluster: Cluster) -> Iterator[dict[str, Proxy]]:
    with proxies(live=live_cluster.port, trial=trial_cluster.port, ledger=trial_cluster.port) as made:
        yield made


@pytest.fixture(scope="module")
def ground(
    live_cluster: Cluster,
    trial_cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
    cuts: dict[str, Proxy],
) -> Iterator[Ground]:
    ports = {name: proxy.port for name, proxy in cuts.items()}
    with ground_on(live_cluster, trial_cluster, tmp_path_factory.mktemp("set"), ports) as made:
        for site in (PRODUCTION, SANDBOX):
            with made.session(site) as session:
                session.execute("UPDATE people SET grade = (SELECT n FROM generation)")
        yield made


def under_faults(
    ground: Ground, nursery: Nursery, cuts: dict[str, Proxy], seconds: float, record: Record
) -> None:
    dice = random.Random(int(os.environ.get(SEED, "6")))  # noqa: S311 - faults, not secrets
    began = time.monotonic()
    with visitors(ground) as people:
        trial = SetTrial(ground, nursery, cuts, people, dice)
        trial.rounds(seconds)
    record("set_test_minutes", round((time.monotonic() - began) / 60, 2))
    record("lost", len(trial.lost))
    record("mixed", len(people.mixes))
    record("unmasked", len(people.doors.canaries))
    record("set_writes", len(people.production.acknowledged) + len(people.sandbox.acknowledged))
    record("set_tries", people.doors.tries)
    record("poll_ms_p50", people.doors.p50_ms)
    record("poll_ms_p99", people.doors.p99_ms)
    record("set_faults", sum(n for name, n in trial.counts.items() if name.startswith("fault ")))
    for name, number in sorted(trial.counts.items()):
        record(f"set: {name}", number)
    assert people.broken == []
    assert trial.wrong == []
    assert trial.lost == []
    assert people.mixes == []
    assert people.doors.canaries == []
    assert people.doors.entered, "nobody got in anywhere, so nobody looked"
    assert people.pages > seconds
    assert people.doors.tries > seconds * 50
    assert len(people.production.acknowledged) > seconds
    assert len(people.sandbox.acknowledged) > seconds


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nothing_is_lost_mixed_or_unmasked_for_a_while(
    ground: Ground, nursery: Nursery, cuts: dict[str, Proxy], record_property: Record
) -> None:
    under_faults(ground, nursery, cuts, SHORT_S, record_property)


@pytest.mark.longhaul
@pytest.mark.timeout(0)
def test_nothing_is_lost_mixed_or_unmasked_for_a_long_time(
    ground: Ground, nursery: Nursery, cuts: dict[str, Proxy], record_property: Record
) -> None:
    under_faults(ground, nursery, cuts, float(os.environ.get(LONG, "600")), record_property)
