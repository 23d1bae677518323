"""Promises of when a request is done: kept in the ledger as first told, and their error measured."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from policy.journal import Finish
from policy.names import SiteId
from tasks import manage
from tasks.queue_view import queue_view
from tests.integration.request_worlds import DANA, NIGHT, NOW, SANDBOX, RequestWorld

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def test_the_promise_is_kept_and_its_error_measured(world: RequestWorld) -> None:
    early, late = world.ask(SANDBOX, by=DANA), world.ask(SiteId.parse("mesa/sandbox"))
    world.plan_at(NOW)
    with world.world.ledger.transaction() as connection:
        told = {
            int(str(row["request"])): row
            for row in connection.execute("select request, low, high from eta").fetchall()
        }
    low = told[early.number]["low"]
    high = told[late.number]["high"]
    assert isinstance(low, datetime)
    assert isinstance(high, datetime)
    world.carry_out(early, took=low - NOW - MINUTE)
    world.clock.at = NOW
    world.carry_out(late, took=high - NOW + 9 * MINUTE)
    kept = queue_view(world.world)["eta_accuracy"]
    assert kept == {
        "promises": 2,
        "median_error_min": 5.0,
        "p90_error_min": pytest.approx(8.2),
        "kept_percent": 0.0,
    }


def test_a_promise_that_freshet_itself_moved_counts_as_it_was_first_told(world: RequestWorld) -> None:
    number = world.ask(SANDBOX, by=DANA, at=NIGHT)
    world.plan_at(NOW)
    world.plan_at(NIGHT + 5 * HOUR)
    world.clock.at = NIGHT + DAY
    world.carry_out(number, took=5 * MINUTE)
    with world.world.ledger.transaction() as connection:
        row = connection.execute("select moves, start, error_s from eta").fetchone()
    assert row is not None
    assert (row["moves"], row["start"]) == (1, NIGHT)
    assert isinstance(row["error_s"], float)
    assert timedelta(seconds=row["error_s"]) > timedelta(hours=23)


def test_a_promise_that_a_person_moved_counts_anew_and_a_failure_not_at_all(world: RequestWorld) -> None:
    number = world.ask(SANDBOX, by=DANA, at=NIGHT)
    world.plan_at(NOW)
    manage.defer(world.world, number, None, "Later")
    manage.resume(world.world, number, None)
    world.plan_at(NIGHT + DAY)
    world.carry_out(number, Finish.PUT_BACK, took=5 * MINUTE)
    assert queue_view(world.world)["eta_accuracy"]["promises"] == 0
    with world.world.ledger.transaction() as connection:
        assert connection.execute("select moves, start from eta").fetchall() == [
            {"moves": 0, "start": NIGHT + DAY}
        ]
