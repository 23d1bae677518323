"""The ground on which upgrades are tried: an estate, a ledger, real databases and a real application.

Invariant: everything goes through the flow as it ships (claim, steps, Ansible, conclusion), in this process
and without a Prefect server; after each run the ground can tell whether old or new is there, whole.
"""

from __future__ import annotations

import os
import secrets as random_words
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.objects import State

from flows.upgrade import upgrade
from infra.ansible_processes import RUN_COOKIE, SCRATCH_COOKIE, carrying
from infra.application_trial import free_port, supervisord
from infra.ledger import installed, requests, runs
from infra.postgres.digest import digests
from infra.settings import settings
from infra.stack.cluster import Cluster
from policy.estate import Estate, Release
from policy.names import RequestId, RunId, SiteId, Version
from policy.permissions import engineer
from policy.request import Request
from policy.wish import Wish
from portal.demo.install import install_all
from tasks.submit import submit
from tasks.world import World, open_world
from tests.due import make_due
from tests.playbooks.upgrade_databases import (
    databases_like,
    drop_databases,
    drop_everything,
    make_databases,
    write_secrets,
)
from tests.playbooks.upgrade_estate import ENGINEER, Pack, declaration, pebble_packs, servers

PRODUCTION, SANDBOX = SiteId.parse("lakeside/production"), SiteId.parse("lakeside/sandbox")
WEBAPP = "lakeside/live"
ROLES = Path(__file__).with_name("roles")


@dataclass(kw_only=True)
class UpgradeGround:
    """One customer's Production and Sandbox, served by one web application."""

    folder: Path
    live: Cluster
    trial: Cluster
    application: str
    packs: Sequence[Pack]
    supervisor: Path | str
    word: str = field(default_factory=lambda: random_words.token_hex(3))
    hosts: Mapping[str, Mapping[str, object]] = field(
        default_factory=lambda: {"local": {"connection": "local"}}
    )
    variables: Mapping[str, object] = field(default_factory=dict)
    server_host: str = "127.0.0.1"
    site_host: str = "127.0.0.1"
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """Where the application is installed, on a local host."""
        return self.folder / "root"

    @property
    def world(self) -> World:
        """As a worker opens it."""
        return open_world()

    @property
    def estate(self) -> Estate:
        """As declared now."""
        return self.world.estate()

    def database(self, site: SiteId) -> str:
        """The site's database."""
        return f"{site.environment.value}_{self.word}"

    def cluster(self, site: SiteId) -> Cluster:
        """Where it lies."""
        return self.live if site == PRODUCTION else self.trial

    def session(self, site: SiteId) -> psycopg.Connection[Any]:
        """A superuser's session in it."""
        return psycopg.connect(self.cluster(site).dsn(self.database(site)), autocommit=True)

    def declare(self, **more: object) -> None:
        """Write the estate's file; `more` are variables of the web application."""
        told = declaration(
            word=self.word,
            application=self.application,
            packs=self.packs,
            servers=servers({"live": self.live, "trial": self.trial}, self.server_host, self.word),
            hosts=self.hosts,
            sites={site.environment.value: self._site(site) for site in (PRODUCTION, SANDBOX)},
            variables={
                "root": str(self.root),
                "service_manager": "supervisor",
                "supervisor": {"config": str(self.supervisor)},
                **self.variables,
                **more,
            },
        )
        aside = self.folder / "estate.new"
        aside.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
        aside.replace(self.folder / "estate.yaml")

    def _site(self, site: SiteId) -> dict[str, object]:
        port = self.ports.setdefault(site.environment.value, free_port())
        return {
            "webapp": "live",
            "server": "live" if site == PRODUCTION else "trial",
            "database": self.database(site),
            "url": f"http://{self.site_host}:{port}",
            "port": port,
        }

    def url(self, site: SiteId) -> str:
        """Where users knock."""
        return f"http://{self.site_host}:{self.ports[site.environment.value]}"

    # What is asked for

    def ask(self, version: str) -> RequestId:
        """A request to upgrade Production, due now."""
        wish = Wish(site=PRODUCTION, version=Version(version), refresh=False)
        request = submit(self.world, wish, engineer(ENGINEER)).request.id
        self.schedule(request)
        return request

    def schedule(self, request: RequestId) -> None:
        """Give `request` a date: now."""
        make_due(self.world, request)

    def carry_out(self, request: RequestId, flow: Flow[[str], State[None]] = upgrade) -> Request:
        """What a worker does; returns the request as it is afterwards."""
        flow.fn(str(request))
        return self.request(request)

    def request(self, number: RequestId) -> Request:
        """As it stands now."""
        with self.world.ledger.transaction() as connection:
            return requests.get(connection, number)

    # What is found

    def installed(self) -> str:
        """The version that the ledger knows."""
        with self.world.ledger.transaction() as connection:
            return str(installed.versions(connection)[WEBAPP])

    def acknowledge(self) -> None:
        """A person has looked at what failed."""
        with self.world.ledger.transaction() as connection:
            installed.acknowledge(connection, webapp=WEBAPP)

    def serving(self, site: SiteId) -> tuple[int, str]:
        """What a user gets: the status, and the version that answers."""
        answer = httpx.get(self.url(site), trust_env=False, timeout=10)
        return answer.status_code, str(answer.json().get("version", "")) if answer.status_code == 200 else ""

    def data(self, site: SiteId) -> dict[str, str]:
        """A digest of each table."""
        with self.session(site) as session:
            return {str(table): digest for table, digest in digests(session).items()}

    def left_over(self, run: RunId) -> list[str]:
        """Processes and sessions of `run` that are still there."""
        # Other grounds of this machine have runs of the same number.
        here = str(self.folder.resolve())
        ours = carrying(
            lambda e: e.get(RUN_COOKIE, "").startswith(f"{run}:") and here in e.get(SCRATCH_COOKIE, "")
        )
        found = [f"process {process}" for process in ours]
        for cluster in (self.live, self.trial):
            with psycopg.connect(cluster.dsn()) as session:
                rows = session.execute(
                    "select pid, datname from pg_stat_activity where application_name = %s",
                    [f"freshet-{run}"],
                ).fetchall()
            found += [f"session {row[0]} in {row[1]}" for row in rows]
        return found

    def reports(self, run: RunId) -> int:
        """How many ends of `run` were told to its contacts, and how many reports it has."""
        with self.world.ledger.transaction() as connection:
            row = connection.execute(
                "select count(*) as ends from event where run = %s and outcome is not null", (run,)
            ).fetchone()
            assert runs.report(connection, run) is not None
        return 0 if row is None else int(str(row["ends"]))

    def databases(self) -> list[str]:
        """Every database of this ground but the ledger."""
        return databases_like((self.live, self.trial), f"^(production|sandbox)_{self.word}")

    def drop(self, names: Collection[str]) -> None:
        """Drop databases of this ground, as far as they are there."""
        drop_databases((self.live, self.trial), names)

    def release(self, version: str) -> Release:
        """A declared release."""
        estate = self.estate
        return estate.release(estate.webapp(PRODUCTION).application, Version(version))


@contextmanager
def upgrade_ground(
    live: Cluster,
    trial: Cluster,
    folder: Path,
    *,
    application: str = "pebble",
    packs: Sequence[Pack] = (),
    **more: Any,  # noqa: ANN401 - whatever else the ground has
) -> Iterator[UpgradeGround]:
    """A ground with its first release installed and some data in it; all of it is gone afterwards.

    Args:
        live: holds Production's database.
        trial: holds the Sandbox's, and the ledger.
        folder: an empty one.
        application: what is hosted.
        packs: its releases; the small application's own unless given.
        more: as `UpgradeGround` has it.
    """
    with ExitStack() as stack:
        if "supervisor" not in more:
            more["supervisor"] = stack.enter_context(supervisord(folder / "supervisor"))
        ground = UpgradeGround(
            folder=folder,
            live=live,
            trial=trial,
            application=application,
            packs=packs or pebble_packs(folder),
            **more,
        )
        stack.callback(lambda: drop_everything((ground.live, ground.trial), ground.word))
        write_secrets(folder / "secrets", application)
        make_databases(
            live,
            trial,
            secrets=folder / "secrets",
            word=ground.word,
            production=ground.database(PRODUCTION),
            sandbox=ground.database(SANDBOX),
        )
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        stack.callback(settings.cache_clear)
        _environment(patch, ground)
        ground.declare()
        install(ground)
        yield ground


def install(ground: UpgradeGround) -> None:
    """Install the first release, and write some notes into both sites."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("portal.demo.install.FIRST", Version(ground.packs[0].version))
        install_all(ground.world, lambda _: None)
    if ground.application == "pebble":
        for site in (PRODUCTION, SANDBOX):
            with ground.session(site) as session:
                session.execute(
                    "insert into note (id, body, mood) select 'n' || g, md5(g::text), 'fine' from"
                    " generate_series(1, 500) g"
                )


def _environment(patch: pytest.MonkeyPatch, ground: UpgradeGround) -> None:
    for name in list(os.environ):
        if name.startswith("FRESHET_"):
            patch.delenv(name)
    told = {
        "STATE_DIR": str(ground.folder / "state"),
        "ESTATE": str(ground.folder / "estate.yaml"),
        "SECRETS_DIR": str(ground.folder / "secrets"),
        "LEDGER": ground.trial.dsn(f"ledger_{ground.word}"),
        "SMTP": "127.0.0.1:9",
        "AWS_ENDPOINT": "http://127.0.0.1:9",
        "PREFECT_API": "http://127.0.0.1:9/api",
        "ROLES": f'["{ROLES}"]',
    }
    for name, value in told.items():
        patch.setenv(f"FRESHET_{name}", value)
    settings.cache_clear()
