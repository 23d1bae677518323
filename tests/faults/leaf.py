"""A small real application, so fast that hundreds of its updates can be killed.

Invariant: it keeps the contract of `docs/guide/applications.md`. Its host is a folder (releases side by side,
a link to the active one, a file that says what runs, a door for each site), its databases are real and its
migration takes two transactions, so that there is a half of it to be killed in. Nothing is remembered
between two calls but what stands there.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from infra.ansible import StageResult
from infra.ansible_events import Outcome, TaskEvent
from infra.postgres.marker import read_marker
from infra.postgres.session import connect
from policy.errors import StepFailed
from policy.estate import Release, Site, WebApp
from policy.names import Environment
from tasks.application import served
from tasks.check_health import sites_of
from tasks.step import Work

OPEN, CLOSED, WAITING = "open", "maintenance", "hold"

SCHEMA = """
CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL, name text NOT NULL, notes text, grade int);
CREATE TABLE settings (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE generation (n int PRIMARY KEY);
CREATE TABLE numbers (n bigint PRIMARY KEY, generation int NOT NULL);
CREATE TABLE schema_version (one bool PRIMARY KEY DEFAULT true CHECK (one), version text NOT NULL);
INSERT INTO schema_version (version) VALUES ('1.0.0');
"""
FIRST_HALF = "CREATE TABLE IF NOT EXISTS labels (id int PRIMARY KEY, label text NOT NULL)"
SECOND_HALF = "UPDATE schema_version SET version = %s"


@dataclass(frozen=True)
class Act:
    """One thing that a stage does; `needed` looks, `do` changes."""

    stage: str
    needed: Callable[[], bool]
    do: Callable[[], None]


@dataclass(frozen=True)
class Host:
    """The folder on which a web application runs."""

    root: Path

    @classmethod
    def of(cls, webapp: WebApp) -> Host:
        """The host of `webapp`."""
        return cls(Path(str(webapp.variables["root"])))

    @property
    def active(self) -> str:
        """The release that the link names."""
        link = self.root / "current"
        return link.readlink().name if link.is_symlink() else ""

    @property
    def running(self) -> str:
        """The version whose processes run, or an empty string."""
        return _text(self.root / "running")

    def door(self, environment: Environment) -> str:
        """What a visitor of the site meets."""
        return _text(self.root / "doors" / environment.value)

    def set_door(self, environment: Environment, state: str) -> None:
        """Open or close the site."""
        _write(self.root / "doors" / environment.value, state)

    def link(self, version: str) -> None:
        """Make `version` the active one, in one go."""
        aside = self.root / "current.new"
        aside.unlink(missing_ok=True)
        aside.symlink_to(self.root / "releases" / version)
        aside.replace(self.root / "current")

    def switch(self, version: str, run: str) -> None:
        """Switch to `version`, and write down before from what and for whom."""
        if self.active != version:
            _write(self.root / "switched", f"{run} {self.active}")
            self.link(version)

    def put_back(self, run: str) -> None:
        """Switch back, if it was `run` that switched."""
        owner, _, before = _text(self.root / "switched").partition(" ")
        if owner == run and before:
            self.link(before)
            (self.root / "switched").unlink()

    @contextmanager
    def serving(self, environment: Environment) -> Iterator[bool]:
        """Whether a visitor's request to the site is served; the application does not stop before it is."""
        with (self.root / "requests").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield bool(self.running) and self.door(environment) == OPEN

    def stop(self) -> None:
        """Stop the application: it takes no new request and ends those that it has."""
        (self.root / "running").unlink()
        with (self.root / "requests").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    def install(self, version: str, environments: Sequence[Environment]) -> None:
        """As after the first installation of `version`."""
        (self.root / "doors").mkdir(parents=True, exist_ok=True)
        (self.root / "switched").unlink(missing_ok=True)
        if (self.root / "releases").is_dir():
            shutil.rmtree(self.root / "releases")
        (self.root / "releases" / version).mkdir(parents=True)
        self.link(version)
        _write(self.root / "running", version)
        for environment in environments:
            self.set_door(environment, OPEN)


def stages(
    work: Work,
    *names: str,
    release: Release,
    only: Sequence[Environment] = (),
    back_by: datetime | None = None,
    databases: Mapping[Environment, str] | None = None,
    check: bool = False,
    timeout_s: float = 60.0,
) -> StageResult:
    """In the place of `tasks.application.stages`: the same contract, without Ansible.

    Between two acts stands the step's failpoint, and before the only one.
    """
    began = time.monotonic()
    work.prove()
    acts = [
        act for name in names for act in _acts(work, name, release, only, databases or {}) if act.needed()
    ]
    if not check:
        for number, act in enumerate(acts):
            if number or len(acts) == 1:
                work.mid()
            act.do()
    return StageResult(
        changed=len(acts),
        tasks=tuple(TaskEvent(outcome=Outcome.CHANGED, stage=act.stage, task=act.stage) for act in acts),
        seconds=round(time.monotonic() - began, 3),
        facts={},
    )


def get_ready(
    work: Work,
    *plays: Sequence[str],
    release: Release,
    only: Sequence[Environment] = (),
    patience_s: float = 0,
) -> None:
    """In the place of `tasks.application.get_ready`: nothing here takes long to start."""


def _acts(
    work: Work,
    stage: str,
    release: Release,
    only: Sequence[Environment],
    databases: Mapping[Environment, str],
) -> Iterator[Act]:
    webapp, sites = served(work)
    host, version = Host.of(webapp), str(release.version)
    chosen = [site for site in sites if not only or site.id.environment in only]
    match stage:
        case "maintenance_on" | "hold" | "maintenance_off":
            state = {"maintenance_on": CLOSED, "hold": WAITING, "maintenance_off": OPEN}[stage]
            for each in chosen:
                yield _door(stage, host, each.id.environment, state)
        case "migrate":
            for site in chosen:
                name = databases.get(site.id.environment, site.database)
                yield from _migration(work, site, name, version)
        case _:
            simple: Mapping[str, tuple[Callable[[], bool], Callable[[], None]]] = {
                "preflight": (lambda: not host.root.is_dir(), lambda: _no_host(host)),
                "stage_release": (
                    lambda: not (host.root / "releases" / version).is_dir(),
                    (host.root / "releases" / version).mkdir,
                ),
                "stop": (lambda: bool(host.running), host.stop),
                "start": (
                    lambda: host.running != host.active,
                    lambda: _write(host.root / "running", host.active),
                ),
                "switch": (lambda: host.active != version, lambda: host.switch(version, work.run)),
                "put_back": (lambda: True, lambda: host.put_back(work.run)),
            }
            needed, do = simple[stage]
            yield Act(stage, needed, do)


def _door(stage: str, host: Host, environment: Environment, state: str) -> Act:
    return Act(stage, lambda: host.door(environment) != state, lambda: host.set_door(environment, state))


def _no_host(host: Host) -> None:
    raise StepFailed(f"{host.root} is not there")


def _migration(work: Work, site: Site, database: str, version: str) -> Iterator[Act]:
    server = work.estate.servers[site.server]

    def open_() -> psycopg.Connection:
        return connect(server, database, server.owner, work.secrets, run=work.run)

    def behind() -> bool:
        with open_() as session:
            return version_of(session) != version

    def first() -> None:
        with open_() as session:
            session.execute(FIRST_HALF)

    def second() -> None:
        with open_() as session:
            session.execute(SECOND_HALF, [version])

    if version != "1.0.0":
        yield Act("migrate", behind, first)
        yield Act("migrate", behind, second)


def version_of(session: psycopg.Connection) -> str:
    """What the database says its schema is."""
    row = session.execute("SELECT version FROM schema_version").fetchone()
    return str(row[0]) if row else ""


def baselines(work: Work) -> Mapping[str, Mapping[str, object]]:
    """In the place of `tasks.check_health.baselines`: how many people each site has."""
    return {site.id.environment.value: {"people": _look(work, site, "")[1]} for site in sites_of(work)}


def wait_until_healthy(
    work: Work, release: Release, compare_with: Mapping[str, Mapping[str, object]] | None = None
) -> Mapping[str, object]:
    """In the place of `tasks.check_health.wait_until_healthy`: processes, schema, marker and rows agree."""
    seen = {}
    for site in sites_of(work):
        wrong, people = _look(work, site, str(release.version))
        before = (compare_with or {}).get(site.id.environment.value, {}).get("people")
        if before is not None and work.request.version is not None and before != people:
            wrong = f"{people} people instead of {before}"
        if wrong:
            raise StepFailed(f"{site.id} is not healthy on {release.version}: {wrong}")
        seen[site.id.environment.value] = {"people": people}
    return seen


def _look(work: Work, site: Site, version: str) -> tuple[str, int]:
    server = work.estate.servers[site.server]
    running = Host.of(work.estate.webapp(site.id)).running
    with connect(server, site.database, server.owner, work.secrets, run=work.run) as session:
        schema = version_of(session)
        row = session.execute("SELECT count(*) FROM people").fetchone()
        marker = read_marker(session)
    people = int(row[0]) if row else 0
    if version and (running, schema) != (version, version):
        return f"it runs {running or 'nothing'} on a schema of {schema}", people
    if marker is None or marker.site != site.id or not people:
        return "its database is another's or empty", people
    return "", people


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    aside = path.with_name(path.name + ".new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
