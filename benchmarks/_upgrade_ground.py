"""The ground of the upgrade benchmark: the embedded stack with one customer, upgraded again and again.

Invariant: everything is as in the demo (Prefect, its worker and the dispatcher beside two clusters and the
application's own processes), in a folder and on ports of its own; nothing of it is left afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from infra.ansible import run_stages
from infra.ledger import installed, requests
from infra.postgres import snapshot
from infra.postgres.incoming import drop_made
from infra.postgres.session import connect
from infra.settings import Settings
from infra.stack.layout import Layout
from infra.stack.mailbox import caught
from infra.stack.ports import FURTHER_BASE, is_free
from infra.stack.stack import Stack
from policy.estate import Estate, Release
from policy.names import Environment, RunId, SiteId, Version, failed_name, snapshot_name
from policy.permissions import principal_of
from policy.wish import Wish
from portal.demo.evidence import SiteState, states
from portal.demo.install import FIRST, install_all
from portal.demo.people import load_people
from portal.demo.probe import outages
from tasks.application import variables
from tasks.submit import submit
from tasks.view import detail
from tasks.wake import wait_until_awake, wake
from tasks.world import World, open_world

SITE = SiteId.parse("lakeside/production")
CONTACT = "dana.brooks@lakeside.example.org"
PATIENCE_S = 300.0
_SPAN = 32
"""How many consecutive ports the stack may take."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One upgrade, as the ledger and somebody outside saw it.

    Attributes:
        request: its details, as `freshet request show --json` gives them.
        total_s: from the run's begin to its end.
        downtime_s: the longer one of the two sites', from the first refused request to the first good one.
        put_back_s: from the failure's entry in the ledger to the first good answer of the last site.
    """

    request: Mapping[str, Any]
    total_s: float
    downtime_s: float
    put_back_s: float | None

    def step(self, name: str, what: str = "seconds") -> float:
        """Seconds of a step of the run."""
        return next((float(each[what] or 0) for each in self.request["steps"] if each["name"] == name), 0.0)

    def fact(self, step: str, name: str) -> object:
        """What a step recorded."""
        found = next(each for each in self.request["steps"] if each["name"] == step)
        return found["facts"].get(name)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A running stack with one customer's Production and Sandbox on the first release."""

    layout: Layout
    world: World

    @property
    def estate(self) -> Estate:
        """As declared now."""
        return self.world.estate()

    def release(self, version: Version) -> Release:
        """The declared release of `version`."""
        return self.estate.release(self.estate.webapp(SITE).application, version)

    def declare(self, lock: Path, *, version: str, expect: str) -> None:
        """Let the estate know a release of Kinto whose packages `lock` names; its line's only one."""
        told = yaml.safe_load(self.layout.estate.read_text(encoding="utf-8"))
        others = [each for each in told["releases"] if str(each["version"]) != version]
        told["releases"] = [
            *others,
            {
                "application": "kinto",
                "version": version,
                "line": version.partition(".")[0],
                "lock": str(lock),
                "sha256": hashlib.sha256(lock.read_bytes()).hexdigest(),
                "expect": {"schema_version": expect},
                "published": "2026-03-02",
            },
        ]
        self.layout.estate.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")

    def states(self) -> dict[SiteId, SiteState]:
        """What is in every database."""
        return states(self.world, self.estate)

    def version(self) -> Version:
        """What the ledger says is installed."""
        with self.world.ledger.transaction() as connection:
            return installed.versions(connection)[self.estate.webapp(SITE).key]

    def upgrade(self, version: Version) -> Seen:
        """Ask for an upgrade as the customer's contact does, and watch until it has ended."""
        estate = self.estate
        contact = next(each for each in estate.contacts if each == CONTACT)
        with self._watched() as lines:
            wish = Wish(site=SITE, version=version, refresh=False)
            number = submit(self.world, wish, principal_of(estate, contact)).request.id
            turned: datetime | None = None
            give_up = time.monotonic() + PATIENCE_S
            while True:
                with self.world.ledger.transaction() as connection:
                    request = requests.get(connection, number)
                    row = connection.execute(
                        "select direction, started_at, ended_at, now() as now from run where request = %s",
                        (number.number,),
                    ).fetchone()
                if row is not None and row["direction"] == "back" and turned is None:
                    turned = _time(row["now"])
                if request.outcome is not None and row is not None and row["ended_at"] is not None:
                    break
                if time.monotonic() > give_up:
                    raise TimeoutError(f"{number} did not end within {PATIENCE_S:.0f} s: {request.status}")
                time.sleep(0.02)
            time.sleep(1)
            found = outages(lines.read_text(encoding="utf-8").splitlines())
        with self.world.ledger.transaction() as connection:
            told = detail(connection, number)
        down = [
            max(found.get(str(site.id), []), key=lambda each: each[1] - each[0]) for site in self._sites()
        ]
        return Seen(
            request=told,
            total_s=(_time(row["ended_at"]) - _time(row["started_at"])).total_seconds(),
            downtime_s=max((end - begin).total_seconds() for begin, end in down),
            put_back_s=None if turned is None else (max(end for _, end in down) - turned).total_seconds(),
        )

    def mails(self) -> int:
        """How many mails have arrived."""
        return len(caught(self.layout.mail))

    def close(self) -> None:
        """Users see the page, and nothing runs behind it."""
        self._stages(self.release(self.version()), "maintenance_on", "stop", run="bench")

    def reset(self, run: str) -> None:
        """Back to what was there before `run` upgraded: code, databases and what the ledger knows."""
        estate = self.estate
        webapp = estate.webapp(SITE)
        target = self.release(self.version())
        self._stages(target, "maintenance_on", "stop", "put_back", run=run)
        for site in self._sites():
            server = estate.servers[site.server]
            with connect(
                server, "postgres", server.owner, self.world.secrets, run="bench", autocommit=True
            ) as admin:
                snapshot.restore(admin, site.database, RunId(run), at=self.world.clock.now())
                drop_made(admin, failed_name(site.database, RunId(run)), RunId(run))
        self._stages(self.release(FIRST), "start", "maintenance_off", run=run)
        with self.world.ledger.transaction() as connection:
            installed.record(connection, webapp=webapp.key, release=self.release(FIRST), run=None)
        self.forget_staged()

    def drop_left(self, run: str) -> None:
        """Drop what a run that was put back keeps as evidence."""
        for site in self._sites():
            server = self.estate.servers[site.server]
            with connect(
                server, "postgres", server.owner, self.world.secrets, run="bench", autocommit=True
            ) as admin:
                for name in (failed_name, snapshot_name):
                    drop_made(admin, name(site.database, RunId(run)), RunId(run))

    def forget_staged(self) -> None:
        """Remove every release but the first, so that the next upgrade stages its own."""
        root = Path(str(self.estate.webapp(SITE).variables["root"]))
        for folder in (root / "releases").iterdir():
            if not folder.name.startswith(f"{FIRST}-"):
                shutil.rmtree(folder)

    def _sites(self) -> list[Any]:
        return list(self.estate.served_by(self.estate.webapp(SITE)))

    def _stages(self, release: Release, *stages: str, run: str) -> None:
        estate, webapp = self.estate, self.estate.webapp(SITE)
        run_stages(
            hosts=[estate.hosts[name] for name in webapp.hosts],
            variables=variables(
                estate,
                self.world.settings,
                self.world.secrets,
                webapp,
                release=release,
            ),
            stages=stages,
            run=run,
            epoch=99,
            scratch=(self.world.settings.run_dir / "bench").resolve(),
            secrets=self.world.secrets,
            timeout_s=PATIENCE_S,
            on_event=lambda _: None,
        )

    @contextlib.contextmanager
    def _watched(self) -> Iterator[Path]:
        """Watch both sites from a process of its own."""
        path = self.layout.state / "probe.jsonl"
        words = [f"{site.id}={site.url}/v1/" for site in self._sites()]
        with path.open("w", encoding="utf-8") as output:
            process = subprocess.Popen([sys.executable, "-m", "portal.demo.probe", *words], stdout=output)
            try:
                time.sleep(1)
                yield path
            finally:
                process.terminate()
                process.wait(timeout=10)


@contextlib.contextmanager
def ground() -> Iterator[Ground]:
    """The stack, up with its loops awake, one customer installed and filled; gone afterwards."""
    os.environ.pop("FRESHET_ESTATE", None)
    with tempfile.TemporaryDirectory(prefix="fr-bench-") as folder:
        stack = Stack.wanted(state=Path(folder) / "state", port_base=_free_base(), tell=lambda _: None)
        try:
            stack.up()
            layout = stack.layout
            _one_customer(layout.estate)
            settings = Settings(_env_file=layout.settings)
            world = open_world(settings)
            wake(world)
            install_all(world, lambda _: None)
            load_people(world, world.estate())
            silent = wait_until_awake(world, patience_s=90)
            if silent:
                raise TimeoutError(f"{', '.join(silent)} did not start")
            yield Ground(layout=layout, world=world)
        finally:
            stack.down()


def _one_customer(path: Path) -> None:
    """Leave only the customer whose application is upgraded, with its Production and Sandbox."""
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    lakeside = told["customers"]["lakeside"]
    lakeside["webapps"] = {"live": lakeside["webapps"]["live"]}
    lakeside["sites"] = {
        each.value: lakeside["sites"][each.value] for each in (Environment.PRODUCTION, Environment.SANDBOX)
    }
    told["customers"] = {"lakeside": lakeside}
    told["contacts"] = {
        email: contact for email, contact in told["contacts"].items() if not contact.get("groups")
    }
    told["releases"] = [
        {**each, "lock": str((path.parent / each["lock"]).resolve()), "published": str(each["published"])}
        for each in told["releases"]
    ]
    told["windows"] = {
        name: {**each, "valid_from": str(each["valid_from"])} for name, each in told["windows"].items()
    }
    path.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")


def _free_base() -> int:
    for base in range(FURTHER_BASE, 32_000, _SPAN):
        if all(is_free(port) for port in range(base, base + _SPAN)):
            return base
    raise RuntimeError("no free range of ports on this machine")


def _time(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError("the ledger gave no time")
    return value
