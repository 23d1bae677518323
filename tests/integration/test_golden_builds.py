"""Building golden images: whole or not at all, by one builder at a time."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from typing import Any

import pytest

from infra.failpoints import VARIABLE
from infra.ledger import goldens
from infra.ledger.goldens import BuildOutcome
from infra.postgres import golden_build as images
from infra.postgres.golden_image import Golden, Kept
from policy.errors import Busy, Refused, StepFailed
from policy.names import CustomerName, ServerName, golden_name
from tasks.golden import tidy_images
from tasks.golden_build import build_images
from tasks.golden_claim import Claim
from tasks.world import World
from tests.integration.golden_worlds import TRIAL, build, everything_kept, expire, read, world_of
from tests.integration.refresh_steps import carry_out
from tests.integration.refreshes import LAKESIDE, Refreshes

pytestmark = pytest.mark.usefixtures("linked")


def test_a_build_that_is_refused_or_fails_leaves_what_was_there(lakeside: Refreshes) -> None:
    world = world_of(lakeside)
    before = build(world)
    lakeside.fill("ALTER TABLE objects ADD COLUMN diary text")
    with pytest.raises(Refused, match="diary: free_text"):
        build(world)
    lakeside.fill("ALTER TABLE objects DROP COLUMN diary")
    lakeside.fill(
        "CREATE VIEW hint AS SELECT 'https://live.lakeside.example.net/'::text AS link",
    )
    with pytest.raises(StepFailed, match="a name of Production in a function or view"):
        build(world)
    assert read(lakeside) == before
    assert list(everything_kept(lakeside)) == [golden_name(lakeside.sandbox)]
    with lakeside.ledger.transaction() as connection:
        last = goldens.last(connection, LAKESIDE, TRIAL)
    assert last is not None
    assert (last.outcome, "name of Production" in last.reason) == (BuildOutcome.FAILED, True)


def test_customers_and_servers_that_have_no_images(lakeside: Refreshes) -> None:
    world = world_of(lakeside)
    with pytest.raises(Refused, match="the estate has no 'nobody'"):
        build_images(world, CustomerName("nobody"), lambda _: None)
    with pytest.raises(Refused, match="has no site on 'live'"):
        build_images(world, LAKESIDE, lambda _: None, server=ServerName("live"))


BUILDER = """
import pathlib, pickle, sys
from tasks.golden_build import build_images
from tests.integration.refreshes import LAKESIDE
build_images(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), LAKESIDE, print)
"""


@pytest.mark.parametrize("point", [pytest.param("copied", marks=pytest.mark.slow), "proven"])
def test_a_killed_build_leaves_nothing_that_could_be_cloned(lakeside: Refreshes, point: str) -> None:
    world = world_of(lakeside)
    kill(lakeside, world, f"golden.build.{point}=kill")
    (left,) = everything_kept(lakeside).values()
    assert left.name.startswith(f"{golden_name(lakeside.sandbox)}_b")
    assert left.image is None
    assert carry_out(lakeside.worker())["method"] == "stream"
    with pytest.raises(Busy, match="are being built"):
        build(world)
    lost = lakeside.folder / "runs" / f"golden-{number_of(left)}"
    assert lost.is_dir()
    expire(lakeside)
    (line,) = [line for line in tidy_images(world, dry_run=True) if left.name in line]
    assert line.endswith("its builder is gone")
    build(world)
    assert list(everything_kept(lakeside)) == [golden_name(lakeside.sandbox)]
    assert not lost.exists()


def kill(lakeside: Refreshes, world: World, failpoint: str) -> None:
    given = lakeside.folder / "world"
    given.write_bytes(pickle.dumps(world))
    died = subprocess.run(
        [sys.executable, "-c", BUILDER, str(given)],
        env={**os.environ, VARIABLE: failpoint},
        capture_output=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()


def number_of(left: Kept) -> int:
    assert left.building is not None
    return left.building.build


@pytest.mark.slow
def test_a_builder_that_lost_its_claim_installs_nothing(
    lakeside: Refreshes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of(lakeside)
    stolen: list[Claim] = []

    real = images.described

    def frozen(*given: Any, **named: Any) -> Golden:  # noqa: ANN401 - passed on as it came
        expire(lakeside)
        stolen.append(Claim(world, world.estate(), LAKESIDE, TRIAL, lambda _: None))
        return real(*given, **named)

    monkeypatch.setattr(images, "described", frozen)
    with pytest.raises(Busy, match="another builder took over"):
        build(world)
    assert read(lakeside) is None
    with stolen[0]:
        stolen[0].prove()
