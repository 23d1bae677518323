"""Upgrades of a real application, seen from outside: how long users wait, and how much of that is ours.

Everything is the demo's: the dispatcher starts the flow in Prefect, Kinto's Production (70,000 records) and
Sandbox go from 23.1.0 to 26.5.0 and back, and a process that asks every 50 ms says when they are served. Then
come three releases that are really broken, and three hosts over SSH.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks._gauge import speed
from benchmarks._upgrade_ground import Ground, Seen, ground
from benchmarks._upgrade_share import share
from infra.application_trial import RELEASES, free_port
from infra.stack.cluster import Cluster
from policy.names import Version
from policy.request import Outcome
from portal.demo.evidence import SiteState
from portal.demo.install import FIRST
from tests.playbooks.farm import NEW, farm
from tests.playbooks.ssh_hosts import need_namespaces

UPGRADES = 5
MAIL_S = 30.0
TO = Version("26.5.0")
BROKEN = (
    ("24.1.1-release-day", "24.1.1", "25"),
    ("24.1.1", "24.1.1", "25"),
    ("25.0.3", "25.0.3", "26"),
)
"""The lock's name, the version and the schema: one dies while it migrates, two refuse their users."""
BESIDE = frozenset({"public.timestamps", "public.cache"})
"""What a health check of Kinto leaves beside its record: a later time and a cached log-in."""


def figures() -> Mapping[str, object]:
    """Measure upgrades, put-backs and hosts over SSH."""
    with ground() as made:
        upgrades, shares, speeds = _upgrades(made)
        put_backs = {lock: _put_back(made, lock, version, schema) for lock, version, schema in BROKEN}
    downtime = statistics.median(seen.downtime_s for seen in upgrades)
    migrate_s = statistics.median(migrate for migrate, _ in shares)
    start_s = statistics.median(start for _, start in shares)
    return {
        "kinto_downtime_s": round(downtime, 2),
        "kinto_downtime_max_s": round(max(seen.downtime_s for seen in upgrades), 2),
        "kinto_total_s": round(statistics.median(seen.total_s for seen in upgrades), 2),
        "kinto_total_max_s": round(max(seen.total_s for seen in upgrades), 2),
        # Each upgrade against its own application's share, taken right after it: the machine's speed varies.
        "overhead_on_app_s": round(
            statistics.median(seen.downtime_s - sum(own) for seen, own in zip(upgrades, shares, strict=True)),
            2,
        ),
        "app_migrate_s": round(migrate_s, 2),
        "app_start_s": round(start_s, 2),
        "put_back_s_max": round(max(seconds for seconds in put_backs.values()), 2),
        **{f"put_back_{lock}_s": round(seconds, 2) for lock, seconds in put_backs.items()},
        **{
            f"step_{name}_s": round(statistics.median(seen.step(name) for seen in upgrades), 2)
            for name in ("take_offline", "take_snapshot", "change_over", "check_health", "reopen")
        },
        "upgrades": len(upgrades),
        "each_downtime_s": [round(seen.downtime_s, 2) for seen in upgrades],
        "each_app_s": [round(sum(own), 2) for own in shares],
        "machine_speed_mb_per_s": speeds,
        "ssh_3_hosts_total_s": _ssh(),
    }


def _upgrades(made: Ground) -> tuple[list[Seen], list[tuple[float, float]], list[float]]:
    upgrades, shares, speeds = [], [], []
    for _ in range(UPGRADES):
        made.forget_staged()
        before = made.states()
        speeds.append(speed())
        seen = made.upgrade(TO)
        _demand(seen, Outcome.DONE)
        after = made.states()
        for site, state in after.items():
            if (state.schema_version, state.record_digest) != ("26", before[site].record_digest):
                raise RuntimeError(f"{site} has schema {state.schema_version} or other records than before")
        upgrades.append(seen)
        made.close()
        shares.append(share(made, str(seen.request["run"])))
        made.reset(str(seen.request["run"]))
    return upgrades, shares, speeds


def _put_back(made: Ground, lock: str, version: str, schema: str) -> float:
    """Seconds from the failure seen to serving again."""
    made.declare(RELEASES / "kinto" / f"{lock}.txt", version=version, expect=schema)
    before, mails = made.states(), made.mails()
    seen = made.upgrade(Version(version))
    _demand(seen, Outcome.PUT_BACK)
    for site, state in made.states().items():
        _as_before(str(site), before[site], state)
    give_up = time.monotonic() + MAIL_S
    while made.mails() <= mails and time.monotonic() < give_up:
        time.sleep(0.2)
    if made.version() != FIRST or made.mails() <= mails:
        raise RuntimeError(f"after {lock} the ledger says {made.version()}, or nobody was told")
    if seen.put_back_s is None:
        raise RuntimeError(f"{lock} was put back, but the ledger never said so")
    made.drop_left(str(seen.request["run"]))
    return seen.put_back_s


def _as_before(site: str, before: SiteState, after: SiteState) -> None:
    same = (before.schema_version, before.schema_digest) == (after.schema_version, after.schema_digest)
    other = [name for name, digest in before.tables.items() if after.tables.get(name) != digest]
    if not same or set(other) - BESIDE:
        raise RuntimeError(f"{site} is not as before: {', '.join(other) or 'another schema'}")


def _demand(seen: Seen, outcome: Outcome) -> None:
    if seen.request["outcome"] != outcome.value:
        raise RuntimeError(
            f"{seen.request['id']} ended as {seen.request['outcome']}: {seen.request['reason']}"
        )


def _ssh() -> float | None:
    """The whole run on three hosts, from its claim to its end; None where such hosts cannot be made."""
    try:
        need_namespaces()
    except pytest.skip.Exception:
        return None
    with tempfile.TemporaryDirectory(prefix="fr-farm-") as name:
        folder = Path(name)
        clusters = [Cluster(data=folder / each, port=free_port()) for each in ("live", "trial")]
        try:
            for cluster in clusters:
                cluster.initialise()
                cluster.start()
            (folder / "farm").mkdir()
            with farm(clusters[0], clusters[1], folder / "farm") as hosts:
                number = hosts.ground.ask(NEW)
                request = hosts.ground.carry_out(number)
                if request.outcome is not Outcome.DONE or hosts.versions() != [NEW] * 3:
                    raise RuntimeError(f"three hosts: {request.outcome}: {request.reason}")
                with hosts.ground.world.ledger.transaction() as connection:
                    row = connection.execute(
                        "select extract(epoch from ended_at - started_at)::float as s from run"
                        " where request = %s",
                        (number.number,),
                    ).fetchone()
        finally:
            for cluster in clusters:
                if cluster.running():
                    cluster.stop(fast=False)
    return None if row is None else round(float(str(row["s"])), 2)
