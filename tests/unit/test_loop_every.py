"""Work that a loop does now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

import pytest

from policy.errors import Unavailable
from tasks.loop import every
from tasks.world import World

WORLD = cast("World", object())
"""The work here does not look at it."""


def test_it_is_done_at_once_and_again_when_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    done: list[World] = []

    def work(world: World) -> int:
        done.append(world)
        return 7

    sometimes = every(60, work)
    assert [sometimes(WORLD), sometimes(WORLD)] == [7, 0]
    clock[0] += 59.9
    assert sometimes(WORLD) == 0
    clock[0] += 0.1
    assert sometimes(WORLD) == 7
    assert done == [WORLD, WORLD]


def test_what_failed_is_tried_again_at_the_next_round() -> None:
    answers: Iterator[int | Unavailable] = iter([Unavailable("the ledger does not answer"), 3])

    def work(_world: World) -> int:
        answer = next(answers)
        if isinstance(answer, int):
            return answer
        raise answer

    sometimes = every(60, work)
    with pytest.raises(Unavailable):
        sometimes(WORLD)
    assert [sometimes(WORLD), sometimes(WORLD)] == [3, 0]
