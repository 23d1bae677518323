"""A web application on its hosts, as its role needs to hear of it; every playbook of a run goes through here.

Invariant: a role is told the target release only; what ran before it reads from the host. Secrets are told as
paths of files.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from infra.ansible import StageResult, run_stages
from infra.ansible_ahead import READY_S, Ahead
from infra.ansible_events import Outcome, TaskEvent
from infra.ansible_guard import Gate
from infra.secrets import SecretFiles
from infra.settings import Settings
from policy.errors import Busy, Unavailable
from policy.estate import Estate, Release, Site, WebApp
from policy.names import Environment, SecretName
from policy.request import Kind
from tasks.ahead import start_ahead, take_ahead
from tasks.step import Work

TIMEOUT_S = 1800.0
"""A stage that takes longer has failed; a migration of the largest customers takes minutes."""

CHANGE_OVER = ("migrate", "switch", "start")
"""What takes the application to its release, in one play; Production first."""

LEASE = timedelta(seconds=60)
"""For how long a door keeps requests waiting when nobody tells it otherwise."""


def served(work: Work) -> tuple[WebApp, tuple[Site, ...]]:
    """The web application that the request is about, and the sites it serves, Production first."""
    webapp = work.estate.webapp(work.request.site)
    return webapp, work.estate.served_by(webapp)


def stages(
    work: Work,
    *names: str,
    release: Release,
    only: Sequence[Environment] = (),
    back_by: datetime | None = None,
    databases: Mapping[Environment, str] | None = None,
    check: bool = False,
    timeout_s: float | None = None,
) -> StageResult:
    """Carry out stages of the application's role on its hosts.

    Args:
        work: the run.
        names: the stages, in order.
        release: the target release; for a refresh the one that is installed.
        only: the sites that it is about; all of the web application when empty.
        back_by: when users are told to expect the site again.
        databases: other databases than the sites' own, for example the one being built aside.
        check: only look what would change.
        timeout_s: all of it may take so long; as the estate's `stage_timeout_s` says unless given.

    Raises:
        StepFailed: a task failed; the message is its own words.
        Unavailable: a host was not reached.
    """
    if not check:
        work.mid()
    ready = None
    if back_by is None and databases is None and not check and timeout_s is None:
        ready = take_ahead(work.run, _words(names, release, only))
    if ready is not None:
        work.prove()
        return ready.go()
    return _carry_out(
        work,
        names,
        release=release,
        only=only,
        back_by=back_by,
        databases=databases,
        check=check,
        timeout_s=timeout_s,
    )


def get_ready(
    work: Work,
    *plays: Sequence[str],
    release: Release,
    only: Sequence[Environment] = (),
    patience_s: float = READY_S,
) -> None:
    """Start Ansible now for stages that will be asked for soon, so that nobody waits for it then.

    Nothing is done before `stages` is called with the same words; without that they are withdrawn.

    Args:
        work: the run.
        plays: the stages of each call that will come.
        release: the target release.
        only: the sites that they are about; all of the web application when empty.
        patience_s: for so long each is waited for, so that it has started when this returns.
    """

    def order(names: Sequence[str]) -> Ahead:
        return start_ahead(
            work,
            _words(names, release, only),
            lambda gate, unwanted: _carry_out(
                work, names, release=release, only=only, gate=gate, unwanted=unwanted
            ),
        )

    for ahead in [order(names) for names in plays]:
        ahead.wait_until_ready(patience_s)


def _words(names: Sequence[str], release: Release, only: Sequence[Environment]) -> tuple[str, ...]:
    return (*names, "of", release.version, release.sha256, *(environment.value for environment in only))


def _carry_out(
    work: Work,
    names: Sequence[str],
    *,
    release: Release,
    only: Sequence[Environment] = (),
    back_by: datetime | None = None,
    databases: Mapping[Environment, str] | None = None,
    check: bool = False,
    timeout_s: float | None = None,
    gate: Gate | None = None,
    unwanted: Callable[[], bool] = lambda: False,
) -> StageResult:
    webapp, _ = served(work)
    watch = _Watch(work)
    told = variables(
        work.estate,
        work.settings,
        work.secrets,
        webapp,
        release=release,
        only=only,
        databases=databases,
    )
    if back_by is not None:
        told["maintenance"] = _page(work, webapp, release, back_by)
    if timeout_s is None:
        timeout_s = float(str(webapp.variables.get("stage_timeout_s", TIMEOUT_S)))
    return run_stages(
        hosts=[work.estate.hosts[name] for name in webapp.hosts],
        variables=told,
        stages=names,
        run=work.run,
        epoch=work.epoch,
        scratch=work.scratch,
        secrets=work.secrets,
        timeout_s=timeout_s,
        on_event=lambda event: _tell(work, event, last=names[-1]),
        check=check,
        serial=_serial(webapp),
        cancelled=lambda: unwanted() or watch.lost(),
        gate=gate,
    )


def variables(
    estate: Estate,
    settings: Settings,
    secrets: SecretFiles,
    webapp: WebApp,
    *,
    release: Release,
    only: Sequence[Environment] = (),
    databases: Mapping[Environment, str] | None = None,
) -> dict[str, object]:
    """The variables of `docs/guide/applications.md` for one web application."""
    told: dict[str, object] = {
        **webapp.variables,
        "application": str(webapp.application),
        "webapp_key": webapp.key,
        "uv": _uv(),
        "release": {
            "version": str(release.version),
            "lock": str((settings.estate.parent / release.lock).resolve()),
            "sha256": release.sha256,
        },
        "sites": [
            _site(estate, secrets, webapp, site, (databases or {}).get(site.id.environment, site.database))
            for site in estate.served_by(webapp)
        ],
        "maintenance": {
            "text": f"{estate.customer(webapp.customer).title} is being updated.",
            "lease_s": LEASE.total_seconds(),
        },
    }
    if only:
        told["only_sites"] = [environment.value for environment in only]
    return told


def _serial(webapp: WebApp) -> int | None:
    """How many hosts are worked on at a time; None means all at once."""
    found = webapp.variables.get("serial")
    return found if isinstance(found, int) else None


def _page(work: Work, webapp: WebApp, release: Release, back_by: datetime) -> Mapping[str, str]:
    customer = work.estate.customer(webapp.customer)
    if work.request.kind is Kind.ENGINE:
        what = f"The database server of {customer.title} is being updated"
    else:
        what = f"{customer.title} is being updated to version {release.version}"
    return {
        "text": f"{what}. Everybody was signed out; what was not saved is lost.",
        "until_local": f"{back_by.astimezone(customer.zone):%H:%M %Z}",
        "until_utc": back_by.isoformat(),
    }


def _site(
    estate: Estate, secrets: SecretFiles, webapp: WebApp, site: Site, database: str
) -> Mapping[str, object]:
    server = estate.servers[site.server]
    # On several hosts the door listens on every address, so the application needs a port of its own.
    behind = webapp.variables.get("backend_ports", {})
    port = behind.get(site.id.environment.value) if isinstance(behind, Mapping) else None
    return {
        "environment": site.id.environment.value,
        **({} if port is None else {"backend_port": port}),
        "port": site.port,
        "url": site.url,
        "database": {
            "host": server.host,
            "port": server.port,
            "name": str(database),
            "user": server.owner.user,
            "password_file": str(secrets.path(server.owner.secret).resolve()),
        },
        "admin_password_file": str(secrets.path(administrator_secret(estate, site)).resolve()),
    }


def administrator_secret(estate: Estate, site: Site) -> SecretName:
    """The secret with the password of the application's own administrator, for the signed-in checks."""
    webapp = estate.webapp(site.id)
    return SecretName(f"{webapp.application}-{site.id.customer}")


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise Unavailable("uv is not installed beside this Python; run `make environment`")
    return found


def _tell(work: Work, event: TaskEvent, *, last: str) -> None:
    if event.outcome is Outcome.STARTED:
        work.say(f"{event.stage}: {event.task}" if event.stage else event.task)
        if event.stage == last:
            work.mid()


class _Watch:
    """Ends a playbook whose worker lost the run: the worker was frozen, and another one took over.

    Args:
        work: the run; it is proven now, and again now and then while the playbook works.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._every = work.settings.lease_seconds / 4
        work.prove()
        self._proven = time.monotonic()

    def lost(self) -> bool:
        """Whether another worker has the run. A ledger that is away says nothing about it."""
        if time.monotonic() - self._proven < self._every:
            return False
        try:
            self._work.prove()
        except Busy:
            return True
        except Unavailable as away:
            self._work.say(f"the ledger is away, the playbook goes on: {away}")
        self._proven = time.monotonic()
        return False
