"""Upgrades through the flow as it ships, of a small real application: what fails is put back, whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.stack.cluster import Cluster
from policy.errors import Refused
from policy.names import RunId
from policy.request import Outcome, Request, Status
from tests.playbooks.upgrade_ground import PRODUCTION, SANDBOX, UpgradeGround, upgrade_ground

pytestmark = pytest.mark.timeout(120)
OLD, NEW = "1.0.0", "2.0.0"


@pytest.fixture(scope="module")
def ground(
    tmp_path_factory: pytest.TempPathFactory, live_cluster: Cluster, trial_cluster: Cluster
) -> Iterator[UpgradeGround]:
    with upgrade_ground(live_cluster, trial_cluster, tmp_path_factory.mktemp("upgrades")) as made:
        yield made


def run_of(request: Request) -> RunId:
    return RunId.of(request.id, request.attempt)


def whole(ground: UpgradeGround, version: str, request: Request) -> None:
    """Both sites serve `version` on its schema, the ledger says so, nothing is left, one end was told."""
    schema = "1" if version == OLD else "2"
    for site in (PRODUCTION, SANDBOX):
        assert ground.serving(site) == (200, version)
        with ground.session(site) as session:
            assert session.execute("select version::text from schema_version").fetchone() == (schema,)
    assert ground.installed() == version
    assert ground.root.joinpath("current").readlink().name.startswith(version)
    assert ground.left_over(run_of(request)) == []
    assert ground.reports(run_of(request)) == 1


def test_a_failure_in_the_middle_is_put_back_and_the_next_attempt_succeeds(
    ground: UpgradeGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {site: ground.data(site) for site in (PRODUCTION, SANDBOX)}
    monkeypatch.setenv("FRESHET_FAILPOINT", "upgrade.change_over.after-act=raise")
    request = ground.carry_out(ground.ask(NEW))
    assert (request.status, request.outcome) == (Status.UNABLE_TO_COMPLETE, Outcome.PUT_BACK)
    whole(ground, OLD, request)
    assert {site: ground.data(site) for site in before} == before
    monkeypatch.delenv("FRESHET_FAILPOINT")

    ground.acknowledge()
    done = ground.carry_out(ground.ask(NEW))
    assert (done.status, done.outcome) == (Status.COMPLETED, Outcome.DONE), done.reason
    whole(ground, NEW, done)
    # Each was started ahead and then used: one that was of no use would have left words of its own.
    evidence = ground.world.settings.run_dir / run_of(done) / "evidence"
    for play in ("migrate-switch-start", "maintenance_off"):
        assert len(list(evidence.glob(f"ansible-*-{play}.log"))) == 1, play
    with pytest.raises(Refused, match="already runs"):
        ground.ask(NEW)
