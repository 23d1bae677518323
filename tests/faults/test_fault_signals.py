"""A worker that is told to stop puts back what it did, or leaves it to the next one; never a half."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest

from policy.request import Kind, Outcome
from tests.faults.conftest import Begin, Meet
from tests.faults.ground import Ground
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery, reached
from tests.waiting import wait_until


@pytest.mark.parametrize(
    ("number", "point"),
    [
        pytest.param(signal.SIGTERM, "refresh.create_incoming.mid", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "refresh.copy_masked.mid", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "refresh.swap.after-act", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "upgrade.take_snapshot.mid", marks=pytest.mark.slow),
        (signal.SIGINT, "upgrade.change_over.mid.3"),
        pytest.param(signal.SIGTERM, "undo.undo_refresh.after-act", marks=pytest.mark.slow),
    ],
)
def test_a_cancelled_run_is_put_back_by_the_worker_itself(
    ground: Ground, nursery: Nursery, meet: Meet, number: signal.Signals, point: str
) -> None:
    trial = Trial.up_to(point, ground, nursery)
    worker = meet(trial.request, point, rest=30)
    worker.send(number)
    trial.check(worker, "Put Back", Outcome.PUT_BACK)
    assert "cancelled" in str(worker.told["message"])


@pytest.mark.slow
def test_a_second_signal_during_the_put_back_leaves_the_rest_to_the_next_worker(
    ground: Ground, nursery: Nursery, begin: Begin, tmp_path: Path
) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    trace = tmp_path / "trace"
    points = ("upgrade.change_over.mid.3", "upgrade.change_over.undo.mid.2")
    worker = begin(
        trial.request, ",".join(f"{point}=sleep:30" for point in points), FRESHET_TEST_TRACE=str(trace)
    )
    for point in points:
        wait_until(partial(reached, trace, point))
        worker.send(signal.SIGTERM)
    assert worker.wait() != 0
    assert ground.request(trial.request).outcome is None
    trial.hand_over()
    assert trial.judge(Outcome.PUT_BACK) == []


@pytest.mark.slow
def test_a_signal_between_two_steps_leaves_the_run_to_the_next_worker(
    ground: Ground, nursery: Nursery, meet: Meet
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    worker = meet(trial.request, "refresh.conclude.mid", rest=30)
    worker.send(signal.SIGTERM)
    assert worker.wait() != 0
    trial.hand_over()
    assert trial.judge(Outcome.DONE) == []
