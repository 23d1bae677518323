"""A second application of another kind: Flask, Alembic, a sign-in form, a migration that drops a column."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from infra.application_trial import Trial, trial
from infra.checks import healthy, load_checks, run_checks, take_baseline
from infra.stack.cluster import Cluster
from policy.names import ApplicationName

OLD, NEW = "6.1.5", "7.2.1"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CHECKS = load_checks(ApplicationName("ihatemoney"))


@pytest.fixture(scope="module")
def budget(tmp_path_factory: pytest.TempPathFactory, live_cluster: Cluster) -> Iterator[Trial]:
    folder = tmp_path_factory.mktemp("ihatemoney")
    with trial(folder, live_cluster, key="harbor/live", application="ihatemoney") as site:
        site.go(OLD, "preflight", "install")
        yield site


def columns_of(site: Trial, table: str) -> set[str]:
    with site.connect("production") as connection:
        return {
            str(name)
            for (name,) in connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s", (table,)
            )
        }


def test_upgrade_and_put_back_through_the_same_interface(budget: Trial) -> None:
    run = "r2a1"
    assert budget.go(OLD, "install").changed == 0
    staged = budget.go(NEW, "preflight", "stage_release", run=run)
    expect = {"version": NEW, "schema_version": str(staged.fact("schema_version"))}
    assert expect["schema_version"] == "c941aaca38c2"
    before = {name: take_baseline(CHECKS, budget.subject(name)) for name in budget.databases}
    assert "remote_addr" in columns_of(budget, "transaction")

    assert budget.go(NEW, "migrate", run=run, check=True).changed == 1
    budget.go(NEW, "maintenance_on", "stop", run=run)
    assert httpx.get(budget.url("production"), trust_env=False).status_code == 503
    budget.snapshot()
    budget.go(NEW, "switch", "migrate", "start", run=run)
    for name in budget.databases:
        results = run_checks(CHECKS, budget.subject(name), expect=expect, baseline=before[name])
        assert healthy(results), results
        assert len(results) == len(CHECKS.checks)
    assert "remote_addr" not in columns_of(budget, "transaction"), "the migration destroys"
    assert budget.go(NEW, "switch", "migrate", "start", run=run).changed == 0
    assert budget.go(NEW, "migrate", run=run, check=True).changed == 0

    budget.go(NEW, "stop", "put_back", run=run)
    budget.restore()
    budget.go(NEW, "start", run=run)
    old = {"version": OLD, "schema_version": str(before["production"].values["schema_version"])}
    results = run_checks(CHECKS, budget.subject("production"), expect=old, baseline=before["production"])
    budget.go(NEW, "maintenance_off", run=run)
    assert healthy(results), results
    assert "remote_addr" in columns_of(budget, "transaction")
    assert httpx.get(budget.url("production"), trust_env=False).headers["X-Application-Version"] == OLD
