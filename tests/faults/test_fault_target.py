"""What keeps a target serving while it is refreshed: each of it is taken out, and the site suffers."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from infra.stack.cluster import Cluster
from policy.request import Kind, Outcome
from tests.faults.conftest import Begin, Damage, start_worker
from tests.faults.ground import STAGING, Ground, ground_on
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery, reached
from tests.faults.proxy import proxies
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def ground(own_ground: Ground) -> Ground:
    """What is damaged stays so."""
    return own_ground


def idle_client(ground: Ground, role: str) -> psycopg.Connection:
    """Somebody who has a session open and asks nothing."""
    return psycopg.connect(
        ground.trial.dsn(ground.databases[STAGING], role), password="stranger", autocommit=True
    )


def test_without_ending_sessions_one_idle_client_prevents_the_swap(
    ground: Ground, nursery: Nursery, begin: Begin, damage: Damage
) -> None:
    role = f"reports_{ground.word}"
    with ground.admin(ground.trial) as session:
        session.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'stranger'").format(Identifier(role)))
        ground.roles[role] = role
        database = Identifier(ground.databases[STAGING])
        session.execute(SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, Identifier(role)))
    for without, outcome in (("", Outcome.DONE), ("ended sessions", Outcome.PUT_BACK)):
        trial = Trial(ground, nursery, Kind.REFRESH)
        with idle_client(ground, role) as client:
            client.execute("SELECT 1")
            worker = begin(trial.request, FRESHET_TEST_WITHOUT=without)
            worker.wait()
        assert trial.judge(outcome) == [], worker.log
    assert "cannot be ended" in ground.request(trial.request).reason
    damage(11, "one idle client of the target is enough: the swap gives up and the refresh was for nothing")


def test_a_session_that_nobody_may_end_puts_the_refresh_back(
    ground: Ground, nursery: Nursery, begin: Begin
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    with ground.session(STAGING) as superuser:
        superuser.execute("SELECT 1")
        worker = begin(trial.request)
        worker.wait()
    assert worker.told["name"] == "Put Back", worker.log
    assert "sessions of postgres cannot be ended" in ground.request(trial.request).reason
    assert trial.judge(Outcome.PUT_BACK) == []


def test_without_building_aside_a_lost_production_leaves_an_empty_target(
    live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path, nursery: Nursery, damage: Damage
) -> None:
    with (
        proxies(live=live_cluster.port) as cuts,
        ground_on(live_cluster, trial_cluster, tmp_path / "cut", {"live": cuts["live"].port}) as ground,
    ):
        production = dict(ground.production_digests())
        for without, whole in (("", True), ("aside", False)):
            request = ground.ask(Kind.REFRESH, STAGING)
            trace, point = tmp_path / f"trace-{request}", "refresh.copy_masked.mid"
            told = {
                "FRESHET_FAILPOINT": f"{point}=sleep:1",
                "FRESHET_TEST_WITHOUT": without,
                "FRESHET_TEST_TRACE": str(trace),
            }
            worker = start_worker(nursery, ground, request, told)
            wait_until(lambda: reached(trace, point) or worker.ended.is_set())  # noqa: B023 - called here only
            cuts["live"].cut()
            worker.wait()
            cuts["live"].mend()
            assert ground.request(request).outcome is Outcome.PUT_BACK, worker.log
            with ground.session(STAGING) as session:
                found = session.execute("SELECT to_regclass('people') IS NOT NULL").fetchone()
            assert found == (whole,), worker.log
        assert dict(ground.production_digests()) == production
    damage(12, "the site's database is emptied for the copy and, when Production goes away, stays empty")


def test_without_quoting_a_role_opens_the_refreshed_database_to_everybody(
    ground: Ground, nursery: Nursery, begin: Begin, damage: Damage
) -> None:
    plain, stranger = f"tutors_{ground.word}", f"stranger_{ground.word}"
    odd = f"{plain}, public"
    with ground.admin(ground.trial) as session:
        for role in (plain, odd, stranger):
            session.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'stranger'").format(Identifier(role)))
            ground.roles[role] = role
        database = Identifier(ground.databases[STAGING])
        session.execute(SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, Identifier(odd)))
    for without, lets_in in (("", False), ("identifiers", True)):
        trial = Trial(ground, nursery, Kind.REFRESH)
        worker = begin(trial.request, FRESHET_TEST_WITHOUT=without)
        worker.wait()
        assert trial.judge(Outcome.DONE) == [], worker.log
        assert enters(ground, odd)
        assert enters(ground, stranger) is lets_in
    damage(18, "a role with a comma in its name opens the refreshed database to every role of the server")


def enters(ground: Ground, role: str) -> bool:
    """Whether `role` is let into the target."""
    try:
        idle_client(ground, role).close()
    except psycopg.OperationalError:
        return False
    return True
