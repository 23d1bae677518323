"""Golden images by command and on a schedule: built whole or not at all, cloned only while they are true."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from infra.clock import SetClock
from infra.failpoints import VARIABLE
from infra.ledger import goldens, installed
from infra.ledger.connection import Ledger
from infra.ledger.goldens import BuildOutcome
from infra.postgres import golden_build as images
from infra.postgres.golden_image import Golden, Kept, image_statement, kept_images, read_golden
from infra.settings import Settings
from policy.errors import Busy, Refused, StepFailed, Unavailable
from policy.estate import Estate, Release
from policy.names import (
    CustomerName,
    Environment,
    SecretName,
    ServerName,
    Version,
    VersionLine,
    golden_name,
    incoming_name,
)
from portal.cli import golden_commands
from portal.cli.app import app
from tasks import golden_run
from tasks.check_refresh import check_refresh
from tasks.copy_masked import copy_masked
from tasks.create_incoming import create_incoming
from tasks.golden import due_builds, golden_view, tidy_images
from tasks.golden_build import build_images
from tasks.golden_claim import Claim
from tasks.neutralise import neutralise
from tasks.preserve import preserve
from tasks.verify_incoming import verify_incoming
from tasks.world import World
from tests.integration.refresh_steps import carry_out
from tests.integration.refreshes import (
    LAKESIDE,
    SANDBOX,
    Refreshes,
    admin,
)

TRIAL = ServerName("trial")
SECRET = SecretName("mask-lakeside")
LINK = (
    "INSERT INTO objects VALUES (gen_random_uuid(), '/buckets/district/collections/students', 'record', "
    """now(), '{"city": "see https://live.lakeside.example.net/v1/"}')"""
)


@pytest.fixture
def lakeside(lakeside: Refreshes) -> Refreshes:
    """With Production's own address among its rows."""
    lakeside.fill(LINK)
    return lakeside


@dataclass(frozen=True, kw_only=True, eq=False)
class Declared(World):
    """A world whose estate is at hand."""

    declared: Estate

    def estate(self) -> Estate:
        return self.declared


def world_of(lakeside: Refreshes, **estate: Any) -> Declared:  # noqa: ANN401 - the estate's fields
    lakeside.baseline = lakeside.baseline or lakeside.production_digests()
    return Declared(
        settings=Settings(state_dir=lakeside.folder, ledger=lakeside.ledger._conninfo, lease_seconds=30),
        ledger=lakeside.ledger,
        secrets=lakeside.secrets,
        clock=SetClock(datetime.now(UTC)),
        declared=replace(lakeside.estate, **estate),
    )


def build(world: World) -> Golden:
    (built,) = build_images(world, LAKESIDE, lambda _: None)
    return built.image


def everything_kept(lakeside: Refreshes) -> dict[str, Kept]:
    with lakeside.owner("postgres") as session:
        return {each.name: each for each in kept_images(session) if each.database == lakeside.sandbox}


def rows_of(session: psycopg.Connection) -> str:
    tables = ("objects", "timestamps", "access_control_entries", "user_principals", "cache")
    return "\n".join(
        str(row[0])
        for table in tables
        for row in session.execute(f"SELECT t::text FROM {table} AS t")  # noqa: S608 - tables of this module
    )


def test_a_refresh_clones_the_image_and_proves_only_what_was_added(lakeside: Refreshes) -> None:
    world = world_of(lakeside)
    image = build(world)
    name = golden_name(lakeside.sandbox)
    assert (image.site, image.method) == (str(SANDBOX), "stream")
    assert image.proven
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        lakeside.owner(name)
    assert lakeside.production_digests() == lakeside.baseline
    facts = carry_out(lakeside.worker())
    assert (facts["method"], facts["neutralised"]) == ("golden", "when the golden image was built")
    assert facts["leak_probe"]["rows"] == "probed when the golden image was built"
    assert facts["kept"][0] == {"table": "public.objects", "rows": 2, "equal": 2}
    with lakeside.owner(lakeside.sandbox) as session:
        text = rows_of(session)
    for leak in ("canary", "Canary", "production-hash", "live.lakeside.example.net"):
        assert leak not in text
    assert "https://sandbox.lakeside.example.net/v1/" in text
    assert "sandbox-hash" in text, "the site's own accounts survive"
    assert image == read(lakeside), "the image stays as it was"


def read(lakeside: Refreshes) -> Golden | None:
    with lakeside.owner("postgres") as session:
        return read_golden(session, golden_name(lakeside.sandbox))


@pytest.mark.slow
def test_own_rows_that_name_production_are_found_in_a_clone(lakeside: Refreshes) -> None:
    build(world_of(lakeside))
    lakeside.fill(
        "INSERT INTO objects VALUES ('ann', 'ann', 'account', now(),"
        """ '{"password": "x", "home": "https://live.lakeside.example.net/ann"}')""",
        database=lakeside.sandbox,
    )
    with pytest.raises(StepFailed, match=r"a name of Production.*one of the site's own rows"):
        carry_out(lakeside.worker())


@pytest.mark.slow
def test_a_clone_whose_word_does_not_hold_is_neutralised_and_proven_as_a_whole(lakeside: Refreshes) -> None:
    """The tag says under what the image was proven; without it nothing is taken on trust."""
    build(world_of(lakeside))
    worker = lakeside.worker()
    carry_out(worker, (check_refresh, create_incoming, copy_masked))
    incoming = incoming_name(lakeside.sandbox, worker.run)
    with lakeside.owner(incoming) as session:
        session.execute("ALTER TABLE objects DISABLE TRIGGER USER")
        session.execute(LINK)
        session.execute("ALTER TABLE objects ENABLE TRIGGER USER")
    assert neutralise.do(worker) == {"neutralised": "when the golden image was built"}
    create_incoming.do(worker)
    acts = neutralise.do(worker)["neutralised"]
    assert {"what": "host name in public.objects.data", "count": 1} in acts  # type: ignore[operator]  # a list of what was done
    facts = carry_out(worker, (preserve, verify_incoming))
    assert facts["compared"]["tables"] > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("address", "not proven under the present policy, addresses and release"),
        pytest.param("release", "not proven under the present policy", marks=pytest.mark.slow),
        pytest.param("key", "the protection policy or its key changed", marks=pytest.mark.slow),
        pytest.param("schema", "the source's schema changed", marks=pytest.mark.slow),
        pytest.param("open", "the image was opened", marks=pytest.mark.slow),
        pytest.param("age", "allowed are 0.0 days", marks=pytest.mark.slow),
    ],
)
def test_an_image_that_does_not_hold_any_more_is_streamed_past(
    lakeside: Refreshes, change: str, reason: str
) -> None:
    build(world_of(lakeside))
    worker = lakeside.worker()
    if change == "address":
        customer = lakeside.estate.customers[LAKESIDE]
        site = replace(customer.sites[Environment.SANDBOX], url="https://other.lakeside.example.net")
        sites = {**customer.sites, Environment.SANDBOX: site}
        worker.estate = replace(lakeside.estate, customers={LAKESIDE: replace(customer, sites=sites)})
    elif change == "key":
        lakeside.secrets.path(SECRET).write_text("another key of enough characters")
    elif change == "release":
        (old,) = lakeside.estate.releases
        new = replace(old, version=Version("26.5.0"), line=VersionLine("26"))
        worker.estate = replace(lakeside.estate, releases=(old, new))
        record(lakeside, new)
    elif change == "schema":
        lakeside.fill("CREATE INDEX ON objects (deleted)")
        worker = lakeside.worker()
    elif change == "open":
        with admin(lakeside.trial) as session:
            session.execute(f"ALTER DATABASE {golden_name(lakeside.sandbox)} ALLOW_CONNECTIONS true")
    else:
        worker.estate = replace(lakeside.estate, golden_oldest=timedelta(0))
    facts = carry_out(worker)
    record(lakeside, lakeside.estate.releases[0])
    assert facts["method"] == "stream"
    assert reason in next(offer["why"] for offer in facts["offers"] if offer["method"] == "golden")
    assert facts["compared"]["values"] > 0


def record(lakeside: Refreshes, release: Release) -> None:
    with lakeside.ledger.transaction() as connection:
        installed.record(connection, webapp="lakeside/live", release=release, run=None)


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
from tests.integration.test_golden import Declared, LAKESIDE
from tasks.golden_build import build_images
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


def expire(lakeside: Refreshes) -> None:
    """As if the builder had not been heard of for long."""
    with lakeside.ledger.transaction() as connection:
        connection.execute(
            "update golden_build set renewed_at = now() - interval '1 hour' where ended_at is null"
        )


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
