"""Ground and workers for the tests of faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest

from infra.stack.cluster import Cluster
from tests.faults.ground import Ground, ground_on
from tests.faults.nursery import Nursery, Worker

Begin = Callable[..., Worker]
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
def begin(nursery: Nursery, ground: Ground) -> Begin:
    """Starts a worker for a request, with a failpoint if one is given."""

    def start(request: str, failpoint: str = "", **more: str) -> Worker:
        return start_worker(nursery, ground, request, {"FRESHET_FAILPOINT": failpoint, **more})

    return start


def start_worker(nursery: Nursery, ground: Ground, request: str, env: Mapping[str, str]) -> Worker:
    """A worker on `ground`; what it writes is kept in the ground's folder."""
    folder = ground.folder / "workers"
    folder.mkdir(exist_ok=True)
    return nursery.begin(request, {**ground.env, **env}, Path(folder / f"{next(_numbers)}-{request}.json"))
