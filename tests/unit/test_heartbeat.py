"""A heartbeat goes on through an outage, and ends with the hold or when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from policy.errors import Busy, Unavailable
from tasks.heartbeat import Heartbeat
from tests.waiting import wait_until


class Holder:
    """Counts its renewals; `trouble` is what each of them meets."""

    def __init__(self) -> None:
        self.lost = threading.Event()
        self.renewed = 0
        self.missed: list[str] = []
        self.trouble: Callable[[], None] = lambda: None
        self.heart = Heartbeat(
            "a test's",
            lease_seconds=0.04,
            renew=self.renew,
            lost=self.lost,
            missed=lambda error: self.missed.append(str(error)),
        )

    def renew(self) -> None:
        self.trouble()
        self.renewed += 1

    def alive(self) -> bool:
        return any(thread.name == "a test's" for thread in threading.enumerate())


def away() -> None:
    raise Unavailable("the ledger is away")


def test_it_beats_until_it_is_stopped() -> None:
    holder = Holder()
    holder.heart.start()
    wait_until(lambda: holder.renewed >= 3)
    holder.heart.stop()
    assert not holder.alive()
    assert holder.missed == []


def test_it_goes_on_through_an_outage_and_tells_each_missed_beat() -> None:
    holder = Holder()
    holder.trouble = away
    holder.heart.start()
    wait_until(lambda: len(holder.missed) >= 2)
    assert holder.renewed == 0
    holder.trouble = lambda: None
    wait_until(lambda: holder.renewed >= 1)
    holder.heart.stop()
    assert set(holder.missed) == {"the ledger is away"}


def test_it_ends_by_itself_when_the_hold_is_lost() -> None:
    holder = Holder()

    def taken_over() -> None:
        holder.lost.set()
        raise Busy("another worker took over")

    holder.trouble = taken_over
    holder.heart.start()
    wait_until(lambda: not holder.alive())
    assert (holder.renewed, holder.missed) == (0, [])
    holder.heart.stop()
