"""Prove an application's role against the interface, by carrying it out on a hosting made up for it.

Invariant: what `docs/guide/applications.md` claims for every stage is looked at here; each claim that does
not hold is one finding, and does not hide those after it where they can still be looked at.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from infra.application_trial import ENVIRONMENTS, Trial, free_port, trial
from infra.checks import Baseline, CheckResult, healthy, load_checks, run_checks, take_baseline
from infra.stack.cluster import Cluster
from policy.errors import Refused
from policy.names import ApplicationName

Say = Callable[[str], None]
NEW_RUN = "r2a1"


def prove_application(
    application: ApplicationName, *, release: str, to: str | None, folder: Path, say: Say
) -> tuple[str, ...]:
    """Install `release`, upgrade to `to` if given, put back; in `folder`, on a PostgreSQL of its own.

    Args:
        application: whose role is proven.
        release: the lock's name below `releases/<application>/`, to begin with.
        to: another one, to upgrade to and be put back from.
        folder: an empty folder.
        say: told what is going on.

    Returns:
        Findings; none means that every claim holds.

    Raises:
        Refused: a release has no lock.
        FreshetError: the trial itself could not go on, for example because the installation failed.
    """
    cluster = Cluster(data=folder / "postgres", port=free_port(), settings={"fsync": "off"})
    cluster.initialise()
    cluster.start()
    try:
        with trial(folder, cluster, key="trial/live", application=application) as site:
            for name in (release, to or release):
                if not (site.locks / application / f"{name}.txt").is_file():
                    raise Refused(f"release: releases/{application}/{name}.txt does not exist")
            proof = _Proof(application, site, say)
            proof.install(release)
            proof.close_and_open(release)
            if to is not None:
                proof.upgrade(release, to)
            proof.keep_secrets()
            return tuple(proof.findings)
    finally:
        cluster.stop(fast=False)


class _Proof:
    """The claims, one after the other."""

    def __init__(self, application: ApplicationName, site: Trial, say: Say) -> None:
        self.site = site
        self.say = say
        self.checks = load_checks(application)
        self.findings: list[str] = []
        self.told: dict[str, str] = {}

    def claim(self, *, holds: bool, otherwise: str) -> None:
        """Note `otherwise` unless it holds."""
        if not holds:
            self.findings.append(otherwise)

    def install(self, release: str) -> None:
        """A first installation, and once more."""
        self.say(f"installing {release}")
        done = self.site.go(release, "preflight", "install")
        self._learn(release)
        self.claim(
            holds=done.changed > 0, otherwise="install: it says that it changed nothing on an empty host"
        )
        self.say("installing again, which must change nothing")
        with self._unchanged("install, carried out again"):
            again = self.site.go(release, "preflight", "install")
        self.claim(
            holds=again.changed == 0,
            otherwise=f"install: carried out again it changed {again.changed} things",
        )
        active = again.fact("active_release")
        self.claim(
            holds=isinstance(active, str) and active.startswith(release.partition("-")[0]),
            otherwise=f"preflight: active_release is {active}, not {release}",
        )
        self._healthy("install", release)

    def close_and_open(self, release: str) -> None:
        """The doors, and stopping behind them."""
        self.say("closing, stopping, starting and opening")
        go = self.site.go
        with self._unchanged("check mode"):
            told = go(release, "maintenance_on", "stop", "switch", "migrate", "maintenance_off", check=True)
        self.claim(
            holds=told.changed > 0, otherwise="check mode: it does not tell that stop would change anything"
        )
        go(release, "maintenance_on", "stop")
        for environment in ENVIRONMENTS:
            status = httpx.get(self.site.url(environment), trust_env=False).status_code
            self.claim(
                holds=status == httpx.codes.SERVICE_UNAVAILABLE,
                otherwise=f"maintenance_on: users of {environment} get {status} instead of the page",
            )
        again = go(release, "maintenance_on", "stop")
        self.claim(holds=again.changed == 0, otherwise="stop: carried out again it changed something")
        go(release, "start", "maintenance_off")
        self._healthy("start", release)

    def upgrade(self, release: str, to: str) -> None:
        """Up and back again, with the databases restored."""
        self.say(f"upgrading to {to}")
        go = self.site.go
        go(to, "preflight", "stage_release", run=NEW_RUN)
        self._learn(to)
        baseline = {name: take_baseline(self.checks, self.site.subject(name)) for name in ENVIRONMENTS}
        before = {name: self._run_checks(name, release, baseline[name]) for name in ENVIRONMENTS}
        look = go(to, "migrate", run=NEW_RUN, check=True).changed
        self.claim(
            holds=look > 0, otherwise="migrate: check mode does not tell that there is something to migrate"
        )
        go(to, "maintenance_on", "stop", run=NEW_RUN)
        self.site.snapshot()
        go(to, "switch", "migrate", "start", run=NEW_RUN)
        for name in ENVIRONMENTS:
            self._note(f"upgrade of {name}", self._run_checks(name, to, baseline[name]))
        with self._unchanged("switch, migrate and start, carried out again"):
            again = go(to, "switch", "migrate", "start", run=NEW_RUN).changed
        self.claim(holds=again == 0, otherwise=f"migrate: carried out again it changed {again} things")
        other = go(to, "put_back", run="r3a1").changed
        self.claim(holds=other == 0, otherwise="put_back: it switched back what another run had switched")
        self.say(f"putting {release} back")
        go(to, "stop", "put_back", run=NEW_RUN)
        self.site.restore()
        go(to, "start", run=NEW_RUN)
        for name in ENVIRONMENTS:
            if healthy(before[name]):
                self._note(f"put-back of {name}", self._run_checks(name, release, baseline[name]))
        go(to, "maintenance_off", "clean_up", run=NEW_RUN)
        self._healthy("clean_up", release)

    def keep_secrets(self) -> None:
        """Nothing but the secrets' own files holds one."""
        words = [self.site.secret(file.name) for file in self.site.secrets.directory.iterdir()]
        allowed = {self.site.secrets.directory, self.site.root / "secrets"}
        for path in self._files(self.site.folder):
            held = path.parent not in allowed and any(word.encode() in path.read_bytes() for word in words)
            self.claim(
                holds=not held, otherwise=f"a secret was written to {path.relative_to(self.site.folder)}"
            )

    def _learn(self, release: str) -> None:
        facts = self.site.go(release, "stage_release").facts.get("local", {})
        for name in self.checks.expectations:
            if name in facts:
                self.told[f"{release}:{name}"] = str(facts[name])
            else:
                self.findings.append(f"stage_release: it does not tell {name}, which checks.yml expects")

    def _run_checks(
        self, environment: str, release: str, baseline: Baseline | None = None
    ) -> tuple[CheckResult, ...]:
        expect = {"version": release.partition("-")[0]}
        for name in self.checks.expectations:
            if f"{release}:{name}" in self.told:
                expect[name] = self.told[f"{release}:{name}"]
        return run_checks(self.checks, self.site.subject(environment), expect=expect, baseline=baseline)

    def _healthy(self, after: str, release: str) -> None:
        for name in ENVIRONMENTS:
            self._note(f"{name} after {after}", self._run_checks(name, release))

    def _note(self, when: str, results: tuple[CheckResult, ...]) -> None:
        for result in results:
            self.claim(holds=result.good, otherwise=f"{when}: check {result.name}: {result.evidence}")

    @contextmanager
    def _unchanged(self, what: str) -> Iterator[None]:
        before = self._digests()
        yield
        after = self._digests()
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        if changed:
            self.findings.append(f"{what}: these files changed: {', '.join(changed[:5])}")

    def _digests(self) -> dict[str, str]:
        root = self.site.root
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self._files(root)
            if path.suffix not in {".log", ".pyc"} and not path.name.endswith(".told.json")
        }

    @staticmethod
    def _files(folder: Path) -> Iterator[Path]:
        for place, _, names in os.walk(folder):
            if Path(place).name == "postgres":
                continue
            for name in names:
                path = Path(place) / name
                if path.is_file() and not path.is_symlink():
                    yield path
