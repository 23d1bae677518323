"""A server's newer version, asked for like any other work: ledger, window, flow, application, clean-up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from flows.engine import engine
from infra.clock import SetClock
from infra.stack.cluster import Cluster, PostgresVersion, bin_dir
from infra.stack.unprivileged import prefix
from policy.engine_version import EngineVersion
from policy.errors import Refused
from policy.names import RequestId, RunId, ServerName
from policy.permissions import engineer, principal_of
from policy.request import Kind, Outcome, Request, Status
from tasks.engine_ask import ask_engine, look_engine
from tasks.engine_clean_up import clean_up_engines
from tests.integration.engine_runs import QUICK
from tests.playbooks.upgrade_estate import ENGINEER
from tests.playbooks.upgrade_ground import (
    PRODUCTION,
    SANDBOX,
    UpgradeGround,
    upgrade_ground,
)
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)
LIVE, TO = ServerName("live"), EngineVersion("18")
WHO = engineer(ENGINEER)


@pytest.fixture
def ground(tmp_path: Path, trial_cluster: Cluster) -> Iterator[UpgradeGround]:
    """The small application, with its Production on a server of version 16 that is declared to become 18."""
    old = Cluster(data=tmp_path / "old", port=free_port(), version=PostgresVersion.V16, settings=QUICK)
    new = Cluster(data=tmp_path / "new", port=old.port, version=PostgresVersion.V18, settings=QUICK)
    old.initialise()
    old.start()
    words = ", ".join(f'"{word}"' for word in prefix())
    (tmp_path / "engines.yaml").write_text(
        f"""\
engines:
  live:
    host: local
    old: {{bin: {bin_dir(PostgresVersion.V16)}, data: {old.data}}}
    new: {{bin: {bin_dir(PostgresVersion.V18)}, data: {new.data}}}
    prefix: [{words}]
    timeout_s: 120
"""
    )
    try:
        with upgrade_ground(old, trial_cluster, tmp_path) as made:
            yield made
    finally:
        for cluster in (new, old):
            if cluster.data.is_dir() and cluster.running():
                cluster.stop(fast=False)


def major(ground: UpgradeGround) -> int:
    with ground.session(PRODUCTION) as session:
        return session.info.server_version // 10_000


@contextmanager
def pages(ground: UpgradeGround) -> Iterator[set[str]]:
    """What users of Production read while they cannot work."""
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            answer = httpx.get(ground.url(PRODUCTION), trust_env=False, timeout=10)
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                seen.add(answer.text)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def asked(ground: UpgradeGround) -> Request:
    with ground.world.ledger.transaction() as connection:
        row = connection.execute(
            "select max(number) as number from request where kind = %s", (Kind.ENGINE.value,)
        ).fetchone()
    assert row is not None
    return ground.request(RequestId.of(int(str(row["number"]))))


def test_a_server_is_upgraded_by_request_and_its_old_files_go_in_time(ground: UpgradeGround) -> None:
    contact = principal_of(
        ground.estate, next(email for email in ground.estate.contacts if email != ENGINEER)
    )
    with pytest.raises(Refused, match="may not upgrade a database server"):
        ask_engine(ground.world, LIVE, TO, contact)
    with pytest.raises(Refused, match="the programs declared for the new version are 18, not 17"):
        ask_engine(ground.world, LIVE, EngineVersion("17"), WHO)
    with pytest.raises(Refused, match=r"engines\.yaml declares no change"):
        ask_engine(ground.world, ServerName("trial"), TO, WHO)

    ready = look_engine(ground.world, LIVE, TO, WHO)
    assert (ready["serving_major"], ready["new_major"], ready["upgraded"]) == (16, 18, False)
    assert not ground.live.data.with_name("new").exists()

    request = ask_engine(ground.world, LIVE, TO, WHO, note="before the term")
    assert (request.status, request.version, request.site) == (Status.TO_BE_SCHEDULED, "18", PRODUCTION)
    with pytest.raises(Refused, match="already has a waiting engine request"):
        ask_engine(ground.world, LIVE, TO, WHO)
    before = ground.data(PRODUCTION)
    ground.schedule(request.id)
    with pages(ground) as seen:
        done = ground.carry_out(request.id, engine)
    assert (done.status, done.outcome) == (Status.COMPLETED, Outcome.DONE), done.reason
    run = RunId.of(done.id, done.attempt)
    assert any("The database server of Lakeside Schools is being updated" in page for page in seen)
    assert major(ground) == 18
    assert ground.data(PRODUCTION) == before
    assert ground.serving(PRODUCTION) == ground.serving(SANDBOX) == (200, "1.0.0")
    assert (ground.left_over(run), ground.reports(run)) == ([], 1)

    with pytest.raises(Refused, match="the server has version 18 already; there is nothing to do"):
        ask_engine(ground.world, LIVE, TO, WHO)
    old = ground.live.data
    assert list(clean_up_engines(ground.world, dry_run=False)) == []
    assert old.exists()
    later = replace(
        ground.world, clock=SetClock(ground.world.clock.now() + ground.estate.undo + timedelta(hours=1))
    )
    assert list(clean_up_engines(later, dry_run=True)) == [f"would remove {old}, which {run} left"]
    (said,) = clean_up_engines(later, dry_run=False)
    assert said.startswith(f"{run}: removed {old} (")
    assert not old.exists()
    assert list(clean_up_engines(later, dry_run=False)) == []
    assert ground.serving(PRODUCTION) == (200, "1.0.0")


@pytest.mark.slow
def test_a_failure_after_the_new_version_has_run_is_put_back(
    ground: UpgradeGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ground.data(PRODUCTION)
    for point in ("engine.start_again.after-act", "engine.upgrade_engine.mid", "engine.take_offline.mid"):
        monkeypatch.setenv("FRESHET_FAILPOINT", f"{point}=raise")
        request = ask_engine(ground.world, LIVE, TO, WHO)
        ground.schedule(request.id)
        ended = ground.carry_out(request.id, engine)
        assert ended.outcome is Outcome.PUT_BACK, ended.reason
        assert major(ground) == 16
        assert ground.data(PRODUCTION) == before
        assert ground.serving(PRODUCTION) == ground.serving(SANDBOX) == (200, "1.0.0")
        run = RunId.of(ended.id, ended.attempt)
        assert (ground.left_over(run), ground.reports(run)) == ([], 1)
