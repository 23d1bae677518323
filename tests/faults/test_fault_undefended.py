"""What each defence prevents: it is taken out and the damage is there, or its test would prove nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg.sql import SQL, Identifier

from infra.postgres.tag import Standing, tagged
from infra.stack.cluster import Cluster
from policy.names import RunId, incoming_name
from policy.permissions import principal_of
from policy.request import Kind, Outcome
from policy.wish import Wish
from tasks.submit import submit
from tests.faults import leaf
from tests.faults.conftest import Damage, start_worker
from tests.faults.declaration import CONTACT
from tests.faults.doors import has_people
from tests.faults.ground import PRODUCTION, SANDBOX, STAGING, Ground, ground_on
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery, Worker, reached
from tests.faults.proxy import proxies
from tests.faults.undefended import FENCES
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

Begin = Callable[..., Worker]


@pytest.fixture
def ground(own_ground: Ground) -> Ground:
    """What is damaged stays so."""
    return own_ground


@pytest.fixture
def begin(nursery: Nursery, ground: Ground, tmp_path: Path) -> Begin:
    """Starts a worker without a defence; `at` is a point that it has to reach first."""

    def start(request: str, failpoint: str = "", *, without: str = "", at: str = "") -> Worker:
        trace = tmp_path / f"trace-{time.monotonic_ns()}"
        told = {
            "FRESHET_FAILPOINT": failpoint,
            "FRESHET_TEST_WITHOUT": without,
            "FRESHET_TEST_TRACE": str(trace),
        }
        worker = start_worker(nursery, ground, request, told)
        if at:
            wait_until(lambda: reached(trace, at) or worker.ended.is_set())
        return worker

    return start


def turned_round(ground: Ground) -> None:
    """The estate's file takes Production for the Staging: wrong host, wrong port, right password."""
    path = ground.folder / "estate.yaml"
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    trial, live = told["database_servers"]["trial"], told["database_servers"]["live"]
    # By another name: under the same one the estate itself would be refused.
    trial["host"], trial["port"], trial["owner"] = "localhost", live["port"], dict(live["owner"])
    staging = told["customers"]["lakeside"]["sites"]["staging"]
    staging["database"] = ground.databases[PRODUCTION]
    path.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")


def people_of_production(ground: Ground) -> bool:
    with ground.session(PRODUCTION) as session:
        return has_people(session)


def test_without_the_fences_production_is_overwritten(ground: Ground, begin: Begin, damage: Damage) -> None:
    request = ground.ask(Kind.REFRESH, STAGING)
    turned_round(ground)
    assert people_of_production(ground)
    worker = begin(request, "refresh.swap.after-act=kill", without="fences")
    worker.wait()
    assert not people_of_production(ground), worker.log or worker.told
    damage(1, "a refresh that runs the wrong way replaces Production by a masked copy of itself")


@pytest.mark.parametrize("fence", FENCES)
def test_each_fence_alone_keeps_production(ground: Ground, begin: Begin, fence: str) -> None:
    """With the guard of each session gone as well; the type's fence stands in the type, too."""
    before = dict(ground.production_digests())
    request = ground.ask(Kind.REFRESH, STAGING)
    turned_round(ground)
    if fence == "sign_fence":
        with ground.admin(ground.live) as session:
            session.execute("CREATE ROLE freshet_production NOLOGIN")
    try:
        # The type asks the estate, which is wrong here about where the server leads: it cannot see it.
        worker = begin(request, "refresh.swap.before-intent=kill", without=f"fences but {fence}")
        worker.wait()
    finally:
        if fence == "sign_fence":
            with ground.admin(ground.live) as session:
                session.execute("DROP ROLE freshet_production")
    assert dict(ground.production_digests()) == before
    if fence != "type_fence":
        assert worker.told["name"] == "Put Back", worker.told
        assert ground.request(request).outcome is Outcome.PUT_BACK


def test_without_the_intent_a_killed_worker_leaves_a_database_behind(
    ground: Ground, nursery: Nursery, begin: Begin, damage: Damage
) -> None:
    for without, left in (("", set()), ("intent", {Standing.INCOMING.value})):
        trial = Trial(ground, nursery, Kind.REFRESH)
        begin(trial.request, "refresh.create_incoming.after-act=kill", without=without).wait()
        ground.let_lease_end()
        begin(trial.request, "refresh.check_may_start.after-act=raise").wait()
        assert ground.request(trial.request).outcome is Outcome.PUT_BACK
        with ground.admin(ground.trial) as session:
            found = {each.tag.standing.value for each in tagged(session) if ground.word in each.name}
        assert found == left
    damage(2, "the next worker does not know of the database that the killed one made, and leaves it behind")


def test_without_the_lease_two_workers_are_let_in(
    ground: Ground, nursery: Nursery, begin: Begin, damage: Damage
) -> None:
    for without, entered in (("", False), ("lease", True)):
        trial = Trial(ground, nursery, Kind.REFRESH)
        point = "refresh.copy_masked.mid"
        first = begin(trial.request, f"{point}=sleep:4", without=without, at=point)
        second = begin(trial.request, without=without)
        second.wait()
        assert ("Check that it may start" in second.log) is entered, second.log
        first.wait()
        if ground.request(trial.request).outcome is None:
            trial.hand_over()
    damage(3, "a second worker is let in while the first copies, and both write into one database")


def test_without_the_epoch_a_frozen_worker_goes_on_when_it_wakes(
    ground: Ground, nursery: Nursery, begin: Begin, damage: Damage
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    first = begin(trial.request, "refresh.swap.before-intent=stop", without="epoch")
    wait_until(lambda: first.ended.is_set() or first.stopped)
    trial.hand_over()
    assert ground.request(trial.request).outcome is Outcome.DONE
    before = _journal(ground, trial)
    first.send(signal.SIGCONT)
    first.wait()
    assert _journal(ground, trial) != before, first.log
    damage(4, "a worker that was frozen wakes up and rewrites the journal of a run that has ended")


def test_without_further_tries_a_lost_connection_ends_the_refresh(
    live_cluster: Cluster,
    trial_cluster: Cluster,
    tmp_path: Path,
    nursery: Nursery,
    damage: Damage,
) -> None:
    with proxies(live=live_cluster.port) as cuts:
        ports = {"live": cuts["live"].port}
        with ground_on(live_cluster, trial_cluster, tmp_path / "cut", ports) as ground:
            for without, outcome in (("", Outcome.DONE), ("tries", Outcome.PUT_BACK)):
                trial = Trial(ground, nursery, Kind.REFRESH)
                trace, point = tmp_path / f"trace-{without}", "refresh.copy_masked.mid"
                told = {
                    "FRESHET_FAILPOINT": f"{point}=sleep:1",
                    "FRESHET_TEST_WITHOUT": without,
                    "FRESHET_TEST_TRACE": str(trace),
                }
                worker = start_worker(nursery, ground, trial.request, told)
                wait_until(partial(reached, trace, point))
                cuts["live"].cut_after(20_000)
                worker.wait()
                assert ground.request(trial.request).outcome is outcome, worker.log
    damage(5, "a connection that drops once during the copy ends the refresh instead of costing a second")


def test_without_the_look_at_all_snapshots_half_of_an_application_is_restored(
    ground: Ground, nursery: Nursery, begin: Begin, damage: Damage
) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    point = "upgrade.check_health.after-intent"
    worker = begin(
        trial.request,
        f"{point}=sleep:2,upgrade.check_health.after-act=raise",
        without="whole restore",
        at=point,
    )
    gone = f"{ground.databases[SANDBOX]}__snap_r{trial.request.number}a1"
    with ground.admin(ground.trial) as session:
        session.execute(SQL("DROP DATABASE {}").format(Identifier(gone)))
    worker.wait()
    versions = []
    for site in (PRODUCTION, SANDBOX):
        with ground.session(site) as database:
            versions.append(leaf.version_of(database))
    assert len(set(versions)) == 2, worker.log
    damage(13, "Production is restored and its Sandbox is not: half of an application on each release")


def test_without_keeping_the_only_whole_copy_is_dropped(
    ground: Ground, nursery: Nursery, begin: Begin, damage: Damage
) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    failing = "upgrade.check_health.after-act=raise,upgrade.change_over.undo.mid=raise"
    begin(trial.request, failing, without="keeping").wait()
    assert ground.request(trial.request).outcome is Outcome.STUCK
    with ground.admin(ground.trial) as session:
        kept = {each.tag.standing for each in tagged(session) if ground.databases[SANDBOX] in each.name}
    assert Standing.SNAPSHOT not in kept
    damage(14, "the snapshot of a database that could not be put back is dropped: nothing is left to restore")


def test_without_the_second_look_at_rights_work_starts_for_somebody_who_may_not_ask(
    ground: Ground, begin: Begin, damage: Damage
) -> None:
    for without, outcome in (("", Outcome.PUT_BACK), ("rights", Outcome.DONE)):
        ground.declare()
        asker = principal_of(ground.estate, CONTACT)
        request = submit(ground.world, Wish(site=STAGING, version=None, refresh=True), asker).request.id
        ground.schedule(request)
        path = ground.folder / "estate.yaml"
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        del told["contacts"][str(CONTACT)]
        path.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
        worker = begin(request, without=without)
        worker.wait()
        assert ground.request(request).outcome is outcome, worker.log
    damage(20, "the refresh of a contact whose rights were taken away after asking is carried out")


def test_without_closing_anybody_enters_the_database_that_is_being_built(
    ground: Ground, nursery: Nursery, begin: Begin, damage: Damage
) -> None:
    role = f"stranger_{ground.word}"
    with ground.admin(ground.trial) as session:
        session.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'stranger'").format(Identifier(role)))
    ground.roles["stranger"] = role
    for without, lets_in in (("", False), ("closed door", True)):
        trial = Trial(ground, nursery, Kind.REFRESH)
        point = "refresh.neutralise.mid"
        worker = begin(trial.request, f"{point}=sleep:2", without=without, at=point)
        name = incoming_name(ground.estate.site(STAGING).database, RunId.of(trial.request, 1))
        assert _enters(ground.trial.dsn(name, role), "stranger") is lets_in
        worker.wait()
    damage(21, "any role of the server enters the database before it was neutralised and proven")


def _enters(where: str, password: str) -> bool:
    try:
        psycopg.connect(where, password=password).close()
    except psycopg.OperationalError:
        return False
    return True


def _journal(ground: Ground, trial: Trial) -> list[dict[str, object]]:
    with ground.world.ledger.transaction() as connection:
        return connection.execute(
            "select * from step where run = %s order by position", (f"r{trial.request.number}a1",)
        ).fetchall()
