"""What cannot be put back is kept, locked and told; a person clears it, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from infra.clock import SetClock
from infra.ledger import installed
from infra.postgres.tag import tagged
from policy.names import RequestId
from policy.request import Kind, Outcome, Status
from tasks import manage
from tasks.plan import plan
from tasks.tidy import tidy
from tests.faults import leaf
from tests.faults.conftest import Begin
from tests.faults.declaration import NEW
from tests.faults.ground import LEAF, PRODUCTION, SANDBOX, STAGING, Ground
from tests.faults.killing import Trial
from tests.faults.matrix import MIDDLES, steps_of
from tests.faults.nursery import Nursery, reached
from tests.waiting import wait_until

LAST = {kind: steps_of(kind)[-1].name for kind in MIDDLES}
UNDOS = [
    (kind, act.removesuffix(".undo")) for kind in MIDDLES for act in MIDDLES[kind] if act.endswith(".undo")
]


def fail(trial: Trial, *undos: str) -> int:
    """Let the run fail at its end, and the undos of `undos` too."""
    kind = trial.kind.value
    failing = [f"{kind}.{LAST[trial.kind]}.after-act=raise"]
    return trial.work(failpoint=",".join(failing + [f"{kind}.{step}.undo.mid=raise" for step in undos]))


def states(ground: Ground, trial: Trial) -> dict[str, str]:
    with ground.world.ledger.transaction() as connection:
        rows = connection.execute(
            "select name, state from step where run = %s", (f"r{trial.request.number}a1",)
        ).fetchall()
    return {str(row["name"]): str(row["state"]) for row in rows}


def derived(ground: Ground) -> set[str]:
    """The databases that runs have made, on both servers."""
    found: set[str] = set()
    for cluster in (ground.live, ground.trial):
        with ground.admin(cluster) as session:
            found |= {each.name for each in tagged(session) if ground.word in each.name}
    return found


@pytest.fixture
def ground(own_ground: Ground) -> Ground:
    """What is stuck stays so."""
    return own_ground


def later(ground: Ground) -> list[str]:
    """What the sweep drops when all times are over."""
    clock = SetClock(ground.world.clock.now() + timedelta(days=30))
    return list(tidy(replace(ground.world, clock=clock), dry_run=False))


def stuck_is_kept(ground: Ground, trial: Trial, failing: set[str]) -> None:
    """Stuck, with every other undo carried out, nothing dropped, the site locked and everybody told."""
    request = ground.request(trial.request)
    assert request.outcome is Outcome.STUCK, request.reason
    assert all(step in request.reason for step in failing)
    found = states(ground, trial)
    kept = {step.name for step in steps_of(trial.kind) if step.drops}
    if "change_over" in failing:
        # On a release that is half put back the application is not healthy, so its page is not lifted.
        failing = failing | {"take_offline"}
    assert {name for name, state in found.items() if state == "undo_failed"} - (kept - failing) == failing
    assert set(found.values()) <= {"undo_failed", "undone"}
    before = derived(ground)
    assert later(ground) == []
    assert derived(ground) == before
    with ground.world.ledger.transaction() as connection:
        told = connection.execute(
            "select channel, payload ->> 'kind' as kind from outbox where request = %s"
            " and (channel = 'webhook' or payload ->> 'kind' like 'stuck%%')",
            (trial.request.number,),
        ).fetchall()
        events = connection.execute(
            "select count(*) as n from event where request = %s and outcome is not null",
            (trial.request.number,),
        ).fetchone()
        lease = connection.execute("select count(*) as n from lease where run is not null").fetchone()
    assert {str(row["channel"]) for row in told} == {"mail", "webhook"}
    assert events == {"n": 1}
    assert lease == {"n": 0}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "step"), UNDOS, ids=str)
def test_an_undo_that_fails_ends_stuck_after_every_other_undo(
    ground: Ground, nursery: Nursery, kind: Kind, step: str
) -> None:
    trial = Trial(ground, nursery, kind)
    assert fail(trial, step) == 0
    stuck_is_kept(ground, trial, {step})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pair"),
    [
        (kind, pair)
        for kind in MIDDLES
        for pair in combinations([step for other, step in UNDOS if other is kind], 2)
        # A door that could not be closed again is open, so there is nothing to open.
        if set(pair) != {"hold_requests", "reopen"}
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "-".join(value),
)
def test_two_undos_that_fail_are_both_told(
    ground: Ground, nursery: Nursery, kind: Kind, pair: tuple[str, str]
) -> None:
    trial = Trial(ground, nursery, kind)
    assert fail(trial, *pair) == 0
    stuck_is_kept(ground, trial, set(pair))


@pytest.mark.slow
def test_snapshots_are_kept_when_the_databases_could_not_be_restored(
    ground: Ground, nursery: Nursery
) -> None:
    """The first database was restored, the second was not: its snapshot is the only whole copy there is."""
    trial = Trial(ground, nursery, Kind.UPGRADE)
    assert (
        trial.work(failpoint="upgrade.check_health.after-act=raise,upgrade.change_over.undo.mid.2=raise") == 0
    )
    assert ground.request(trial.request).outcome is Outcome.STUCK
    sandbox = ground.databases[SANDBOX]
    assert f"{sandbox}__snap_r{trial.request.number}a1" in derived(ground)
    stuck_is_kept(ground, trial, {"change_over"})
    assert ground.visit(PRODUCTION)[0] == f"door: {leaf.CLOSED}"


def test_a_snapshot_that_is_gone_ends_stuck_and_leaves_every_copy(
    ground: Ground, nursery: Nursery, begin: Begin, tmp_path: Path
) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    trace = tmp_path / "trace"
    point = "upgrade.check_health.after-intent"
    worker = begin(
        trial.request,
        f"{point}=sleep:2,upgrade.check_health.after-act=raise",
        FRESHET_TEST_TRACE=str(trace),
    )
    wait_until(lambda: reached(trace, point))
    gone = f"{ground.databases[SANDBOX]}__snap_r{trial.request.number}a1"
    with ground.admin(ground.trial) as session:
        session.execute(SQL("DROP DATABASE {}").format(Identifier(gone)))
    assert worker.wait() == 0
    assert worker.told["name"] == "Stuck", worker.log
    assert f"the snapshot of database '{ground.databases[SANDBOX]}'" in report(ground, trial)
    # Neither database was restored: both stand on the new schema, and Production's snapshot is still there.
    assert f"{ground.databases[PRODUCTION]}__snap_r{trial.request.number}a1" in derived(ground)
    for site in (PRODUCTION, SANDBOX):
        with ground.session(site) as database:
            assert leaf.version_of(database) == NEW


@pytest.mark.slow
def test_a_stuck_site_is_locked_until_a_person_clears_it(
    ground: Ground, nursery: Nursery, begin: Begin
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    assert fail(trial, "hold_requests") == 0
    assert ground.request(trial.request).outcome is Outcome.STUCK
    again = ground.ask(Kind.REFRESH, STAGING)
    refused = begin(again)
    assert refused.wait() == 0
    assert refused.told["name"] == "Not Now"
    assert "another run works on" in str(refused.told["message"])
    assert ground.request(again).status is Status.SCHEDULED
    stuck = begin(trial.request)
    assert stuck.wait() == 0
    assert "waits for a person" in str(stuck.told["message"])
    assert "freshet request clear" in str(stuck.told["message"])
    shown = shown_reason(ground, again)
    assert "locked" in shown.lower() or "stuck" in shown.lower(), shown
    manage.clear(ground.world, trial.request, "The door was opened by hand.", finished=False)
    ground.reset()
    assert ground.request(trial.request).outcome is Outcome.PUT_BACK
    if ground.request(again).status is Status.TO_BE_SCHEDULED:
        ground.schedule(again)
    assert trial.work(again) == 0
    assert ground.request(again).outcome is Outcome.DONE


@pytest.mark.slow
def test_a_stuck_upgrade_that_was_finished_by_hand_is_on_its_new_release(
    ground: Ground, nursery: Nursery
) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    assert fail(trial, "reopen") == 0
    assert ground.request(trial.request).outcome is Outcome.STUCK
    manage.clear(ground.world, trial.request, "Finished by hand.", finished=True)
    assert ground.request(trial.request).outcome is Outcome.DONE
    with ground.world.ledger.transaction() as connection:
        assert installed.versions(connection)["lakeside/live"] == NEW
        release = ground.estate.release(LEAF, NEW)
        assert not installed.known_bad(connection, webapp="lakeside/live", release=release)


@pytest.mark.slow
def test_a_release_that_was_turned_down_before_it_was_tried_is_not_known_as_bad(
    ground: Ground, nursery: Nursery
) -> None:
    release = ground.estate.release(LEAF, NEW)
    for point, bad in (("take_snapshot.after-act", False), ("change_over.after-act", True)):
        trial = Trial(ground, nursery, Kind.UPGRADE)
        assert trial.work(failpoint=f"upgrade.{point}=raise") == 0
        assert ground.request(trial.request).outcome is Outcome.PUT_BACK
        with ground.world.ledger.transaction() as connection:
            assert installed.known_bad(connection, webapp="lakeside/live", release=release) is bad


@pytest.mark.slow
def test_a_run_that_is_resumed_too_late_for_its_window_is_put_back(ground: Ground, nursery: Nursery) -> None:
    """What was accepted by night does not take a site off line in the morning."""
    trial = Trial(ground, nursery, Kind.UPGRADE)
    assert trial.work(failpoint="upgrade.take_offline.before-intent=kill") != 0
    ground.let_lease_end()
    close_window(ground)
    trial.resume()
    request = ground.request(trial.request)
    assert request.outcome is Outcome.PUT_BACK
    assert "window" in request.reason
    ground.declare()
    assert trial.judge(Outcome.PUT_BACK) == []


@pytest.mark.slow
def test_a_run_that_took_its_site_off_line_is_finished_whatever_the_hour(
    ground: Ground, nursery: Nursery
) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    assert trial.work(failpoint="upgrade.take_offline.after-intent=kill") != 0
    ground.let_lease_end()
    close_window(ground)
    trial.resume()
    ground.declare()
    assert trial.judge(Outcome.DONE) == []


def close_window(ground: Ground) -> None:
    """From now on the only window is tomorrow's."""
    tomorrow = (ground.world.clock.now() + timedelta(days=2)).strftime("%a").lower()
    window = {"zone": "UTC", "days": [tomorrow], "start": "00:00", "length": "4h", "valid_from": "2026-01-01"}
    ground.declare(windows={"always": window})


def report(ground: Ground, trial: Trial) -> str:
    with ground.world.ledger.transaction() as connection:
        rows = connection.execute(
            "select string_agg(error, '; ') as said from step where run = %s", (f"r{trial.request.number}a1",)
        ).fetchone()
    return str(rows["said"]) if rows else ""


def shown_reason(ground: Ground, number: RequestId) -> str:
    """What the queue says about a waiting request."""
    plan(ground.world)
    return ground.request(number).reason
