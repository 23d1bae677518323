"""Work that somebody attends."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

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


def test_a_cancel_by_a_signal_ends_the_work_too() -> None:
    """As Prefect does it: what is raised by the handler is thrown into the very wait for the thread."""
    stop = threading.Event()
    ended: list[str] = []

    def work() -> None:
        told = _until(stop)
        time.sleep(0.1)
        ended.append(told)

    def cancel(_number: int, _frame: FrameType | None) -> None:
        raise _Cancelled

    before = signal.signal(signal.SIGUSR1, cancel)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    try:
        with pytest.raises(_Cancelled):
            Attended(work, end=stop.set, name="work").wait()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended == ["ended in its own order"]
