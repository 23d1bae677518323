"""Golden images by command and on a schedule: built when they are due, dropped when they are old."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.clock import SetClock
from infra.ledger.connection import Ledger
from infra.postgres.golden_image import image_statement
from policy.errors import StepFailed, Unavailable
from policy.names import golden_name
from portal.cli import golden_commands
from portal.cli.app import app
from tasks import golden_run
from tasks.golden import due_builds, golden_view, tidy_images
from tasks.golden_claim import Claim
from tasks.world import World
from tests.integration.golden_worlds import TRIAL, build, everything_kept, world_of
from tests.integration.refreshes import LAKESIDE, Refreshes


def test_the_schedule_has_one_owner_and_knows_what_is_due(
    lakeside: Refreshes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(golden_run, "make_run", lambda _api, _flow, **told: asked.append(told))
    assert due_builds(world_of(lakeside)) == [], "never by itself unless the estate says so"
    world = world_of(lakeside, golden_every=timedelta(hours=24))
    assert [each[:2] for each in due_builds(world)] == [(LAKESIDE, TRIAL)]
    (line,) = golden_run.ask_due(world, dry_run=False)
    assert "asked Prefect to build images of lakeside on trial" in line
    assert len(list(golden_run.ask_due(world, dry_run=False))) == 1
    assert asked[0]["key"] == asked[1]["key"], "the same run, however often it is asked for"
    image = build(world)
    assert due_builds(world) == []
    clock = world.clock
    assert isinstance(clock, SetClock)
    clock.at = datetime.fromisoformat(image.as_of) + timedelta(hours=25)
    assert [each[:2] for each in due_builds(world)] == [(LAKESIDE, TRIAL)]
    with Claim(world, world.estate(), LAKESIDE, TRIAL, lambda _: None):
        assert due_builds(world) == [], "somebody is at it"
    with pytest.raises(StepFailed), Claim(world, world.estate(), LAKESIDE, TRIAL, lambda _: None):
        raise StepFailed("no room")
    assert due_builds(world) == [], "not at once after a failure"
    with lakeside.ledger.transaction() as connection:
        connection.execute("insert into pause (scope, reason, by, at) values ('all', 'quiet', 'me', now())")
    clock.advance(timedelta(hours=2))
    assert due_builds(world) == [], "not under a pause"
    with lakeside.ledger.transaction() as connection:
        connection.execute("delete from pause")
    assert len(due_builds(world)) == 1


@pytest.mark.slow
def test_old_images_are_dropped_and_those_of_others_stay(lakeside: Refreshes) -> None:
    world = world_of(lakeside)
    image = build(world)
    name = golden_name(lakeside.sandbox)
    assert not [line for line in tidy_images(world, dry_run=False) if name in line]
    clock = world.clock
    assert isinstance(clock, SetClock)
    clock.at = datetime.fromisoformat(image.as_of) + timedelta(days=8)
    (standing,) = golden_view(world)
    assert standing.why_not == "its data are too old"
    with lakeside.owner("postgres") as session:
        session.execute(image_statement(name, replace(image, ledger="of another installation")))
    assert not [line for line in tidy_images(world, dry_run=False) if name in line]
    with lakeside.owner("postgres") as session:
        session.execute(image_statement(name, image))
    (line,) = [line for line in tidy_images(world, dry_run=False) if name in line]
    assert line.startswith("dropped ")
    assert everything_kept(lakeside) == {}


def test_the_command(lakeside: Refreshes, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(lakeside, golden_every=timedelta(hours=24))
    monkeypatch.setattr(golden_commands, "open_world", lambda: world)
    runner = CliRunner()

    def call(*words: str, code: int = 0) -> str:
        result = runner.invoke(app, ["golden", *words])
        assert result.exit_code == code, result.output
        return result.output if code else result.stdout

    (before,) = json.loads(call("list", "--json"))
    assert (before["fits"], before["why_not"]) == (False, "there is none")
    (built,) = json.loads(call("build", "lakeside", "--json"))
    assert built["site"] == "lakeside/sandbox"
    assert built["rows"] > 500
    (listed,) = json.loads(call("list", "lakeside", "--json"))
    assert listed["fits"]
    assert listed["age_s"] >= 0
    assert listed["bytes"] == built["bytes"] > 1_000_000
    assert listed["last_build"]["outcome"] == "built"
    assert "yes" in call("list")
    assert "golden images of lakeside on trial are being built" in busy(world, call)
    assert "has no preview" in call("drop", "lakeside", "--site", "preview", code=2)
    assert "the estate has no 'nobody'" in call("build", "nobody", code=2)
    (dropped,) = json.loads(call("drop", "lakeside", "--json"))
    assert dropped["bytes"] == built["bytes"]
    assert "has no golden images" in call("drop", "lakeside")
    monkeypatch.setattr(Ledger, "transaction", away)
    assert "the ledger is away" in call("list", code=3)


def busy(world: World, call: Any) -> str:  # noqa: ANN401 - a command with any words
    with Claim(world, world.estate(), LAKESIDE, TRIAL, lambda _: None):
        assert "are being built since" in call("drop", "lakeside", code=2)
        return str(call("build", "lakeside", code=3))


def away(_: Ledger) -> None:
    raise Unavailable("the ledger is away")
