"""Kill -9 at every place of every flow and of its put-back: the site is old or new, whole, and told once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import Queue

import pytest

from infra.stack.cluster import Cluster
from policy.request import Kind, Outcome
from tests.faults.ground import Ground, ground_on
from tests.faults.killing import Trial, kill
from tests.faults.matrix import MODULES, Case, every_case, every_point, steps_of
from tests.faults.nursery import Nursery

AT_ONCE = 2
SAMPLE = frozenset(
    {
        "refresh.claim.mid",
        "refresh.copy_masked.mid",
        "refresh.swap.after-act",
        "refresh.swap.undo.mid",
        "refresh.create_incoming.undo.mid",
        "upgrade.take_snapshot.mid.2",
        "upgrade.change_over.mid",
        "upgrade.change_over.mid.4",
        "upgrade.change_over.undo.mid.2",
        "upgrade.take_offline.undo.after-act",
        "undo.undo_refresh.after-act",
        "undo.conclude.mid",
    }
)
"""Where it hurts most; these are killed in every run of the tests."""


def _cases(*, sample: bool) -> list[Case]:
    return [
        case for case in every_case() if (case.point in SAMPLE and "conclude" not in case.fails) is sample
    ]


@pytest.fixture(scope="module")
def killed(
    live_cluster: Cluster,
    trial_cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    nursery: Nursery,
) -> Iterator[dict[Case, Future[list[str]]]]:
    """What is wrong after each of the selected kills; several grounds work side by side."""
    cases = [
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec") and "case" in item.callspec.params
    ]
    with ExitStack() as stack:
        free: Queue[Ground] = Queue()
        for number in range(min(AT_ONCE, len(cases))):
            folder = tmp_path_factory.mktemp(f"ground-{number}")
            free.put(stack.enter_context(ground_on(live_cluster, trial_cluster, folder)))
        pool = ThreadPoolExecutor(AT_ONCE)
        stack.callback(pool.shutdown, cancel_futures=True)
        yield {case: pool.submit(_on_a_free_one, free, nursery, case) for case in cases}


def _on_a_free_one(free: Queue[Ground], nursery: Nursery, case: Case) -> list[str]:
    ground = free.get()
    try:
        return kill(ground, nursery, case)
    finally:
        free.put(ground)


@pytest.mark.parametrize("case", _cases(sample=True), ids=str)
def test_a_killed_worker_leaves_the_old_or_the_new_state(
    killed: dict[Case, Future[list[str]]], case: Case
) -> None:
    assert killed[case].result() == []


@pytest.mark.slow
@pytest.mark.parametrize("case", _cases(sample=False), ids=str)
def test_wherever_a_worker_is_killed_the_next_one_ends_it(
    killed: dict[Case, Future[list[str]]], case: Case
) -> None:
    assert killed[case].result() == []


@pytest.mark.parametrize("kind", MODULES)
def test_a_run_meets_every_place_of_the_matrix(ground: Ground, nursery: Nursery, kind: Kind) -> None:
    met: set[str] = set()
    for fails in ("", f"{kind.value}.{steps_of(kind)[-1].name}.after-act"):
        trace = ground.folder / f"trace-{kind.value}-{bool(fails)}"
        trial = Trial(ground, nursery, kind)
        code = trial.work(failpoint=f"{fails}=raise" if fails else "", trace=trace)
        assert code == 0
        assert trial.judge(Outcome.PUT_BACK if fails else Outcome.DONE) == []
        met |= set(trace.read_text(encoding="utf-8").split())
    assert met == set(every_point(kind))
