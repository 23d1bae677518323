"""Ground and workers for the tests of faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest

from infra.stack.cluster import Cluster
from tests.faults.ground import Ground, ground_on
from tests.faults.nursery import Nursery, Worker, reached
from tests.waiting import wait_until

Begin = Callable[..., Worker]
Meet = Callable[..., Worker]
Damage = Callable[[int, str], None]
_numbers = count(1)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Forks workers."""
    made = Nursery()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def ground(
    live_cluster: Cluster, trial_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    """One customer for the tests of a module; each begins with `reset`."""
    with ground_on(live_cluster, trial_cluster, tmp_path_factory.mktemp("ground")) as made:
        yield made


@pytest.fixture
def own_ground(live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path) -> Iterator[Ground]:
    """One customer for a single test."""
    with ground_on(live_cluster, trial_cluster, tmp_path / "ground") as made:
        yield made


@pytest.fixture
def damage(record_property: Callable[[str, object], None]) -> Damage:
    """Keeps what happened without the defence of a scenario, for the table of `make faults`."""

    def keep(scenario: int, words: str) -> None:
        record_property(f"without {scenario}", words)

    return keep


@pytest.fixture
def begin(nursery: Nursery, ground: Ground) -> Begin:
    """Starts a worker for a request, with a failpoint if one is given."""

    def start(request: str, failpoint: str = "", **more: str) -> Worker:
        return start_worker(nursery, ground, request, {"FRESHET_FAILPOINT": failpoint, **more})

    return start


@pytest.fixture
def meet(nursery: Nursery, ground: Ground, tmp_path: Path) -> Meet:
    """Starts a worker and waits until it stands still at a point for a while."""

    def start(request: str, point: str, *, also: str = "", rest: float = 1.5, **env: str) -> Worker:
        trace = tmp_path / f"trace-{request}"
        failpoint = f"{also}{',' if also else ''}{point}=sleep:{rest}"
        told = {"FRESHET_FAILPOINT": failpoint, "FRESHET_TEST_TRACE": str(trace), **env}
        worker = start_worker(nursery, ground, request, told)
        wait_until(lambda: reached(trace, point) or worker.ended.is_set())
        assert not worker.ended.is_set(), worker.log
        return worker

    return start


def start_worker(nursery: Nursery, ground: Ground, request: str, env: Mapping[str, str]) -> Worker:
    """A worker on `ground`; what it writes is kept in the ground's folder."""
    folder = ground.folder / "workers"
    folder.mkdir(exist_ok=True)
    return nursery.begin(request, {**ground.env, **env}, Path(folder / f"{next(_numbers)}-{request}.json"))
