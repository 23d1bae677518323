"""Kinto on three hosts over SSH, upgraded through the flow as it ships."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from infra.application_trial import RELEASES, free_port
from infra.stack.cluster import Cluster
from tests.playbooks.ssh_hosts import SshHost, forwarded, ssh_hosts
from tests.playbooks.upgrade_estate import Pack
from tests.playbooks.upgrade_ground import PRODUCTION, UpgradeGround, upgrade_ground

OLD, NEW = "23.1.0", "26.5.0"
PACKS = tuple(
    Pack(version=version, lock=RELEASES / "kinto" / f"{version}.txt", schema=schema)
    for version, schema in ((OLD, "23"), (NEW, "26"))
)


@dataclass(frozen=True)
class Farm:
    """The ground, and the hosts that serve it."""

    ground: UpgradeGround
    hosts: list[SshHost]

    def versions(self) -> list[str]:
        """What each host's Production says it is, or that it is closed."""
        found = []
        for each in self.hosts:
            url = f"http://{each.host.address}:{self.ground.ports[PRODUCTION.environment.value]}/v1/"
            answer = httpx.get(url, headers={"Accept": "application/json"}, trust_env=False, timeout=20)
            found.append(str(answer.json().get("project_version", "closed")))
        return found


@contextmanager
def farm(live: Cluster, trial: Cluster, folder: Path, **variables: object) -> Iterator[Farm]:
    """Three hosts with Kinto's first release, the databases of both clusters behind this machine's address.

    Args:
        live: holds Production's database.
        trial: holds the Sandbox's, and the ledger.
        folder: an empty one.
        variables: of the web application, for example `serial`.
    """
    fill_cache()
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    with (
        ssh_hosts(3, folder, secrets, Path(sys.executable)) as (own, hosts),
        forwarded(own, live.port),
        forwarded(own, trial.port),
        upgrade_ground(
            live,
            trial,
            folder,
            application="kinto",
            packs=PACKS,
            supervisor="/srv/supervisor/supervisord.conf",
            server_host=own,
            site_host=str(hosts[0].host.address),
            hosts={
                str(each.host.name): {
                    "connection": "ssh",
                    "address": each.host.address,
                    "port": 22,
                    "user": "root",
                    "key": "host-key",
                }
                for each in hosts
            },
            variables={
                "root": "/srv/kinto",
                "listen": "0.0.0.0",  # noqa: S104 - the hosts' own networks end on this machine
                "uv_options": ["--offline"],
                "backend_ports": {"production": free_port(), "sandbox": free_port()},
                **variables,
            },
        ) as ground,
    ):
        yield Farm(ground, hosts)


def fill_cache() -> None:
    """Download what the hosts install: they have no registry."""
    uv = Path(sys.executable).with_name("uv")
    for pack in PACKS:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder + "/v"], check=True)
            subprocess.run(
                [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", folder + "/v", str(pack.lock)],
                check=True,
            )
