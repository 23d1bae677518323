"""An application on three hosts over SSH: all at once or one by one, and one of them lost on the way."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from infra.ansible import StageResult, run_stages
from infra.ansible_events import TaskEvent
from infra.application_trial import Trial, free_port, trial
from infra.stack.cluster import Cluster
from policy.errors import StepFailed, Unavailable
from tests.playbooks.ssh_hosts import SshHost, forwarded, need_namespaces, ssh_hosts

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]
OLD, NEW = "23.1.0", "26.5.0"


@dataclass
class Farm:
    """Three hosts, and the databases that they share."""

    site: Trial
    hosts: list[SshHost]
    own_address: str
    backend_ports: Mapping[str, int]

    def go(
        self, release: str, *stages: str, run: str = "r1a1", serial: int | None = None, **more: object
    ) -> StageResult:
        everywhere = "0.0.0.0"  # noqa: S104 - the hosts' own networks end on this machine
        told = self.site.variables(
            release,
            {
                "root": "/srv/kinto",
                "listen": everywhere,
                "uv_options": ["--offline"],
                "compile_releases": False,  # six installations in one test
            },
        )
        told["supervisor"] = {"config": "/srv/supervisor/supervisord.conf"}
        sites = []
        for each in told["sites"]:  # type: ignore[attr-defined]
            database = {**each["database"], "host": self.own_address}
            sites.append(
                {**each, "database": database, "backend_port": self.backend_ports[each["environment"]]}
            )
        told["sites"] = sites
        events: list[TaskEvent] = []
        return run_stages(
            hosts=[each.host for each in self.hosts],
            variables={**told, **more},
            stages=stages,
            run=run,
            epoch=1,
            scratch=self.site.scratch,
            secrets=self.site.secrets,
            timeout_s=300,
            on_event=events.append,
            serial=serial,
        )

    def versions(self) -> list[str]:
        """What each host's Production says it is."""
        found = []
        for each in self.hosts:
            url = f"http://{each.host.address}:{self.site.ports['production']}/v1/"
            answer = httpx.get(url, headers={"Accept": "application/json"}, trust_env=False, timeout=20)
            found.append(answer.json().get("project_version", "closed"))
        return found


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, live_cluster: Cluster) -> Iterator[Farm]:
    need_namespaces()
    folder = tmp_path_factory.mktemp("farm")
    with trial(folder, live_cluster, key="farm/live", application="kinto") as site:
        # The hosts install from the cache that this fills, as they have no registry.
        for release in (OLD, NEW):
            site.go(release, "stage_release", more={"compile_releases": False})
        with (
            ssh_hosts(3, folder, site.secrets.directory, Path(sys.executable)) as (own, hosts),
            forwarded(own, live_cluster.port),
        ):
            farm = Farm(site, hosts, own, {name: free_port() for name in site.databases})
            farm.go(OLD, "preflight", "install")
            yield farm


def test_three_hosts_are_upgraded_and_put_back(farm: Farm) -> None:
    run = "r2a1"
    assert farm.versions() == [OLD] * 3
    assert farm.go(OLD, "install").changed == 0
    farm.go(NEW, "preflight", "stage_release", run=run)
    begun = time.monotonic()
    farm.go(NEW, "maintenance_on", "stop", run=run)
    assert farm.versions() == ["closed"] * 3
    farm.site.snapshot()
    done = farm.go(NEW, "switch", "migrate", "start", run=run)
    assert len([task for task in done.tasks if task.stage == "migrate"]) == 1, "once for all hosts"
    farm.go(NEW, "maintenance_off", run=run)
    assert time.monotonic() - begun < 89, "the prototype's time for all of it"
    assert farm.versions() == [NEW] * 3

    farm.go(NEW, "maintenance_on", "stop", "put_back", run=run, serial=1)
    farm.site.restore()
    farm.go(NEW, "start", "maintenance_off", run=run)
    assert farm.versions() == [OLD] * 3


def test_a_host_that_is_lost_stops_all_and_can_be_put_back(farm: Farm) -> None:
    run = "r3a1"
    farm.go(NEW, "preflight", "stage_release", run=run)
    farm.go(NEW, "maintenance_on", "stop", run=run)
    farm.site.snapshot()
    lost = farm.hosts[1]
    cut = threading.Timer(1.0, lost.cut_off)
    cut.start()
    begun = time.monotonic()
    with pytest.raises((Unavailable, StepFailed)) as failure:
        farm.go(NEW, "switch", "migrate", "start", run=run)
    cut.join()
    assert isinstance(failure.value, Unavailable), failure.value
    assert "host-1" in str(failure.value)
    assert time.monotonic() - begun < 60
    with pytest.raises(Unavailable, match="host-1"):
        farm.go(NEW, "preflight", run=run)

    lost.join_again()
    farm.go(NEW, "stop", "put_back", run=run)
    farm.site.restore()
    farm.go(NEW, "start", "maintenance_off", run=run)
    assert farm.versions() == [OLD] * 3


def test_a_host_with_another_key_is_not_spoken_to(farm: Farm) -> None:
    known = farm.site.secrets.directory / "known-hosts"
    text = known.read_text()
    other = (farm.site.folder / "keys" / "user.pub").read_text().split()[1]
    try:
        known.write_text("".join(f"{line.split()[0]} ssh-ed25519 {other}\n" for line in text.splitlines()))
        with pytest.raises(Unavailable, match="host-"):
            replace(farm).go(OLD, "preflight")
    finally:
        known.write_text(text)
