"""Kinto on a server of its own whose files are the snapshot: put back as a whole, upgraded, cleared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from infra.clock import SetClock
from infra.ledger import runs
from infra.stack.cluster import Cluster, PostgresVersion, bin_dir
from infra.stack.unprivileged import prefix
from policy.names import RunId
from policy.request import Outcome
from tasks.drop_copies import drop_copies
from tests.playbooks.farm import NEW, OLD, PACKS
from tests.playbooks.upgrade_ground import PRODUCTION, SANDBOX, UpgradeGround, upgrade_ground
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RESTLESS = {"cache", "timestamps"}
"""Kinto writes into these when it is only read."""
CLUSTERS = """\
clusters:
  live:
    host: local
    bin: {bin}
    data: {data}
    prefix: [{prefix}]
    timeout_s: 120
"""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, trial_cluster: Cluster) -> Iterator[UpgradeGround]:
    folder = tmp_path_factory.mktemp("whole")
    settings = {"fsync": "off", "shared_buffers": "32MB", "jit": "off"}
    live = Cluster(data=folder / "server" / "data", port=free_port(), settings=settings)
    live.data.parent.mkdir()
    live.initialise()
    live.start()
    try:
        with upgrade_ground(
            live,
            trial_cluster,
            folder,
            application="kinto",
            packs=PACKS,
            variables={"snapshot": {"live": "physical"}},
        ) as made:
            (folder / "clusters.yaml").write_text(
                CLUSTERS.format(
                    bin=bin_dir(PostgresVersion.V18),
                    data=live.data,
                    prefix=", ".join(f'"{word}"' for word in prefix()),
                )
            )
            yield made
    finally:
        live.stop(fast=False)


def versions(ground: UpgradeGround) -> list[str]:
    """What each site says it is."""
    return [
        str(
            httpx.get(
                f"{ground.url(site)}/v1/",
                headers={"Accept": "application/json"},
                trust_env=False,
                timeout=10,
            ).json()["project_version"]
        )
        for site in (PRODUCTION, SANDBOX)
    ]


def data(ground: UpgradeGround) -> list[dict[str, str]]:
    return [
        {
            table: digest
            for table, digest in ground.data(site).items()
            if not RESTLESS & {table.split(".")[-1]}
        }
        for site in (PRODUCTION, SANDBOX)
    ]


def beside(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def test_put_back_as_a_whole_then_upgraded_then_cleared(
    ground: UpgradeGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, before = ground.live.data.parent, data(ground)
    assert any("objects" in table for table in before[0])
    monkeypatch.setenv("FRESHET_FAILPOINT", "upgrade.check_health.after-act=raise")
    failed = ground.carry_out(ground.ask(NEW))
    monkeypatch.delenv("FRESHET_FAILPOINT")
    assert failed.outcome is Outcome.PUT_BACK, failed.reason
    assert versions(ground) == [OLD, OLD]
    assert data(ground) == before
    first = RunId.of(failed.id, failed.attempt)
    assert beside(server) == {"data", f"data.failed_{first}"}
    assert (ground.left_over(first), ground.reports(first)) == ([], 1)

    ground.acknowledge()
    done = ground.carry_out(ground.ask(NEW))
    assert done.outcome is Outcome.DONE, done.reason
    assert versions(ground) == [NEW, NEW]
    second = RunId.of(done.id, done.attempt)
    assert beside(server) == {"data", f"data.failed_{first}", f"data.snapshot_{second}"}
    with ground.world.ledger.transaction() as connection:
        journal = runs.journal(connection, second)
    (facts,) = (entry.facts["snapshots"] for entry in journal if entry.step == "take_snapshot")
    assert isinstance(facts, dict)
    kinds = {name: told["kind"] for name, told in facts.items()}
    assert kinds == {ground.database(PRODUCTION): "physical", ground.database(SANDBOX): "template"}

    assert list(drop_copies(ground.world, dry_run=False)) == []
    tomorrow = replace(ground.world, clock=SetClock(ground.world.clock.now() + timedelta(days=1, minutes=5)))
    said = [f"would look for copies of whole servers that {second} left"]
    assert list(drop_copies(tomorrow, dry_run=True)) == said
    assert list(drop_copies(tomorrow, dry_run=False)) == [
        f"{second}: removed the snapshot of server live on local"
    ]
    assert beside(server) == {"data", f"data.failed_{first}"}
    late = replace(
        ground.world, clock=SetClock(ground.world.clock.now() + ground.estate.undo + timedelta(days=1))
    )
    assert len(list(drop_copies(late, dry_run=False))) == 1
    assert beside(server) == {"data"}
    assert list(drop_copies(late, dry_run=False)) == []
    assert versions(ground) == [NEW, NEW]
