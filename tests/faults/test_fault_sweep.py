"""The sweep ends what was begun and drops what is over, and touches nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from infra.clock import SetClock
from infra.postgres.tag import Standing, Tag, tag_statement, tagged
from policy.names import RequestId, RunId
from policy.request import Kind, Outcome
from tasks.tidy import tidy
from tests.faults.conftest import Begin
from tests.faults.ground import PRODUCTION, STAGING, Ground
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery


@pytest.fixture
def ground(own_ground: Ground) -> Ground:
    return own_ground


def later(ground: Ground, *, days: float, dry_run: bool = False) -> list[str]:
    """What the sweep says when `days` have passed."""
    clock = SetClock(ground.world.clock.now() + timedelta(days=days))
    return list(tidy(replace(ground.world, clock=clock), dry_run=dry_run))


def ours(ground: Ground) -> set[str]:
    with ground.admin(ground.trial) as session:
        return {each.name for each in tagged(session) if ground.word in each.name}


def made(ground: Ground, name: str, *, tag: Tag | None, owner: str | None = None) -> str:
    """A database that looks like one of ours."""
    with ground.admin(ground.trial) as session:
        session.execute(
            SQL("CREATE DATABASE {} OWNER {}").format(
                Identifier(name), Identifier(owner or ground.roles["trial-owner"])
            )
        )
        if tag is not None:
            session.execute(tag_statement(name, tag))
    return name


def exists(session: psycopg.Connection, name: str) -> bool:
    return session.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


@pytest.mark.slow
def test_the_sweep_brings_an_abandoned_run_to_its_end(ground: Ground, nursery: Nursery, begin: Begin) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    assert trial.work(failpoint="refresh.swap.after-act=kill") != 0
    early = begin("sweep")
    assert early.wait() == 0
    assert "taken_over" in str(early.told)
    ground.let_lease_end()
    dry = begin("sweep--dry-run")
    assert dry.wait() == 0
    assert f"{trial.request} on lakeside/staging was abandoned" in str(dry.told)
    if ground.request(trial.request).outcome is None:
        real = begin("sweep")
        assert real.wait() == 0
        assert f"{trial.request} on lakeside/staging: Completed (done)" in str(real.told)
    assert trial.judge(Outcome.DONE) == []


@pytest.mark.slow
def test_a_run_whose_lease_is_renewed_is_left_to_its_worker(
    ground: Ground, nursery: Nursery, begin: Begin
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    worker = begin(trial.request, "refresh.neutralise.mid=sleep:4")
    sweep = begin("sweep")
    assert sweep.wait() == 0
    assert trial.request not in str(sweep.told)
    assert worker.wait() == 0
    assert worker.told["name"] == "Completed"
    assert trial.judge(Outcome.DONE) == []


def test_only_what_is_ours_ended_and_over_is_dropped(ground: Ground, nursery: Nursery) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    assert trial.work() == 0
    run, staging = RunId.of(trial.request, 1), ground.databases[STAGING]
    previous = f"{staging}__prev_{run}"
    now = ground.world.clock.now()
    with ground.admin(ground.trial) as session:
        session.execute(SQL("CREATE ROLE {}").format(Identifier(f"other_{ground.word}")))
    ground.roles["other"] = f"other_{ground.word}"
    tag = Tag(standing=Standing.INCOMING, database=staging, run=run, at=now)
    survivors = {
        # The name is right and nothing says that a run made it.
        made(ground, f"{staging}__fail_{run}", tag=None),
        # A run of another installation, which counts its runs alike.
        made(ground, f"{staging}__in_r9999a1", tag=replace(tag, run=RunId("r9999a1"))),
        # The tag says something else than the name.
        made(ground, f"{staging}__snap_{run}", tag=tag),
        # The run is ours, the database is none that it worked on.
        made(ground, f"ours_{ground.word}__in_{run}", tag=replace(tag, database=f"ours_{ground.word}")),
        # Everything is right, and it belongs to somebody else.
        made(ground, f"{staging}__in_{run}", tag=tag, owner=f"other_{ground.word}"),
        # No database of a run at all.
        made(ground, f"report__{ground.word}", tag=None),
    }
    before = survivors | {previous}
    assert later(ground, days=6) == [line for line in later(ground, days=6) if "left alone" in line]
    said = later(ground, days=8, dry_run=True)
    assert any(f"would drop {previous}" in line for line in said)
    with ground.admin(ground.trial) as session:
        assert all(exists(session, name) for name in before)
    said = later(ground, days=8)
    assert any(f"dropped {previous}" in line for line in said)
    assert any(f"left alone: {staging}__in_r9999a1" in line for line in said), said
    with ground.admin(ground.trial) as session:
        assert not exists(session, previous)
        assert {name for name in survivors if exists(session, name)} == survivors


@pytest.mark.slow
def test_an_undo_that_was_asked_for_in_time_finds_its_database(ground: Ground, nursery: Nursery) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    assert trial.work() == 0
    undo = ground.ask(Kind.UNDO, STAGING, undoes=trial.request)
    assert later(ground, days=8) == []
    assert trial.work(undo) == 0
    assert ground.request(undo).outcome is Outcome.DONE
    assert ground.visit(STAGING) == trial.before[STAGING]


@pytest.mark.slow
def test_nothing_of_a_live_run_is_dropped(ground: Ground, nursery: Nursery) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    assert trial.work(failpoint="upgrade.change_over.mid.2=kill") != 0
    before = ours(ground)
    assert before
    assert later(ground, days=100) == []
    assert ours(ground) == before
    trial.hand_over()
    assert trial.judge(Outcome.DONE) == []


@pytest.mark.slow
def test_the_folders_of_runs_long_over_are_removed(ground: Ground, nursery: Nursery) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    assert trial.work() == 0
    folder = ground.settings.run_dir / RunId.of(trial.request, 1)
    stranger = ground.settings.run_dir / "not-a-run"
    stranger.mkdir()
    assert folder.is_dir()
    later(ground, days=89)
    assert folder.is_dir()
    later(ground, days=91)
    assert not folder.exists()
    assert stranger.is_dir()


def test_a_mistake_in_the_estate_stops_no_delivery_and_no_waking(ground: Ground, begin: Begin) -> None:
    request = ground.ask(Kind.REFRESH, STAGING)
    ground.declare(customers={})
    sweep = begin("sweep")
    assert sweep.wait() == 0, sweep.log
    found = sweep.told["found"]
    assert isinstance(found, dict)
    assert "entries of the outbox tried" in str(found["delivered"])
    assert found["tidied"]
    ground.declare()
    assert ground.request(RequestId(request)).outcome is None


@pytest.mark.slow
def test_a_server_that_is_away_keeps_the_others_tidy(ground: Ground, nursery: Nursery) -> None:
    trial = Trial(ground, nursery, Kind.UPGRADE)
    assert trial.work() == 0
    ground.ports["live"] = 9
    ground.declare()
    said = later(ground, days=30)
    assert any(line.startswith("live: could not be tidied") for line in said)
    assert any("dropped" in line for line in said)
    ground.ports["live"] = ground.live.port
    ground.declare()
    assert any("dropped" in line for line in later(ground, days=30))
    assert ground.visit(PRODUCTION) == trial.expected[PRODUCTION]


@pytest.mark.parametrize("name", ["r9999a1-errand", "golden-9999"])
def test_passwords_that_a_killed_errand_or_build_left_do_not_stay(ground: Ground, name: str) -> None:
    folder = ground.settings.run_dir / name
    folder.mkdir(parents=True)
    (folder / "evidence").write_text("kept for a look")
    passfile = folder / "pgpass-0123456789ab"
    passfile.write_text("host:1:*:reader:word")
    later(ground, days=0.5)
    later(ground, days=2, dry_run=True)
    assert passfile.exists()
    assert any(line.endswith(f"from {name}, where something was killed") for line in later(ground, days=2))
    assert [path.name for path in folder.iterdir()] == ["evidence"]
    later(ground, days=100)
    assert not folder.exists()
