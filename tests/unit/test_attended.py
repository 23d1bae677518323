"""Work that somebody attends."""

from __future__ import annotations

import threading
import time

import pytest

from infra.attended import Attended


class _Cancelled(BaseException):
    """What is thrown into whoever waits."""


def _until(event: threading.Event) -> str:
    assert event.wait(10)
    return "ended in its own order"


def test_what_the_work_gave_is_given() -> None:
    assert Attended(lambda: 7, end=lambda: None, name="work").wait() == 7


def test_what_the_work_raised_is_raised() -> None:
    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Attended(work, end=lambda: None, name="work").wait()


def test_it_is_watched_while_it_goes_on() -> None:
    stop = threading.Event()
    looks: list[float] = []

    def look() -> None:
        looks.append(time.monotonic())
        if len(looks) == 3:
            stop.set()

    assert Attended(lambda: _until(stop), end=stop.set, name="work").wait(look, every_s=0.01)
    assert len(looks) >= 3


def test_a_cancel_ends_the_work_and_waits_for_its_end() -> None:
    stop = threading.Event()
    ended: list[str] = []

    def work() -> None:
        ended.append(_until(stop))

    def cancel() -> None:
        raise _Cancelled

    attended = Attended(work, end=stop.set, name="work")
    with pytest.raises(_Cancelled):
        attended.wait(cancel, every_s=0.01)
    assert ended == ["ended in its own order"]
    assert not attended.goes_on


def test_a_cancel_after_the_end_ends_nothing() -> None:
    asked: list[int] = []
    attended = Attended(lambda: 1, end=lambda: asked.append(1), name="work")
    attended.wait_at_most(10)

    def cancel() -> None:
        raise _Cancelled

    assert attended.wait(cancel) == 1
    assert asked == []
