"""What it costs to take local times for instants on the day on which the clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from infra.stack.cluster import Cluster
from policy.local_time import resolve
from tasks import manage
from tests.faults.conftest import Damage
from tests.integration.request_worlds import LIVE, RequestWorld, request_world

CHICAGO = ZoneInfo("America/Chicago")
SATURDAY = datetime(2027, 3, 13, 18, 0, tzinfo=UTC)
"""Noon in Chicago, where the clocks go an hour ahead in the night that follows."""


@pytest.fixture
def world(live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path) -> Iterator[RequestWorld]:
    with request_world(live_cluster, trial_cluster, tmp_path) as made:
        made.install("lakeside/live", "23.1.0")
        yield made


def by_the_offset_of_today(local: datetime, zone: ZoneInfo) -> datetime:
    """What everybody writes first."""
    offset = SATURDAY.astimezone(zone).utcoffset()
    assert offset is not None
    return local.replace(tzinfo=UTC) - offset


def test_without_asking_the_zone_a_window_opens_and_ends_an_hour_late(
    world: RequestWorld, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    """The window of Sunday, 04:00 to 09:00 in Chicago."""
    found = []
    world.clock.at = SATURDAY
    for instant in (resolve, by_the_offset_of_today):
        monkeypatch.setattr("policy.windows.resolve", instant)
        number = world.ask(LIVE, version="26.5.0")
        world.plan_at(SATURDAY)
        request = world.get(number)
        assert request.scheduled_for is not None
        assert request.start_by is not None
        found.append((request.scheduled_for, request.start_by))
        manage.cancel(world.world, number, None, "only its date was wanted")
    (right, latest), (naive, naive_latest) = found
    assert right.astimezone(CHICAGO).time() == time(4)
    assert naive.astimezone(CHICAGO).time() == time(5)
    assert (naive_latest - latest).total_seconds() == 3600
    damage(10, "on the day of the change work begins an hour late and may last an hour into people's day")
