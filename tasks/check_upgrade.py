"""Check before an upgrade: everything that can be known before anything is changed, told at once.

Invariant: only looks. A finding ends the run with the site untouched.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.ledger import installed
from infra.ledger.connection import Ledger
from infra.postgres import snapshot
from infra.postgres.incoming import exists
from policy.errors import Refused, StepFailed, Unavailable
from tasks.application import served, stages
from tasks.check_health import baselines, wait_until_healthy
from tasks.releases import installed_release, target_release
from tasks.server_session import server_session
from tasks.snapshots import kept
from tasks.step import Step, Work


def _done(_work: Work) -> bool:
    return False


def _do(work: Work) -> Mapping[str, object]:
    webapp, sites = served(work)
    release, before = target_release(work), installed_release(work, webapp)
    findings: list[str] = []
    ledger = Ledger(work.settings.ledger, work.settings.ledger_passfile)
    with ledger.transaction() as connection:
        if installed.known_bad(connection, webapp=webapp.key, release=release):
            findings.append(
                f"version: {release.version} failed on {webapp.key} before and was put back; look at that "
                "run, then let it be tried again with `freshet request retry`"
            )
    try:
        stages(work, "preflight", release=release)
    except (StepFailed, Unavailable) as error:
        findings.append(f"host: {error}")
    sizes: dict[str, int] = {}
    for site in sites:
        try:
            with server_session(work, site) as session:
                if not exists(session, site.database):
                    findings.append(f"database: '{site.database}' of {site.id} does not exist")
                    continue
                sizes[site.database] = snapshot.size(session, site.database)
        except Unavailable as error:
            findings.append(f"database: {error}")
    if not findings:
        findings += _snapshot_findings(work)
    if not findings:
        try:
            wait_until_healthy(work, before)
        except StepFailed as error:
            findings.append(f"health: before the upgrade, {error}")
    if findings:
        raise Refused(*findings)
    return {"from_version": str(before.version), "database_bytes": sizes, "baselines": baselines(work)}


def _snapshot_findings(work: Work) -> list[str]:
    found: list[str] = []
    try:
        for keep in kept(work):
            try:
                keep.choice()
            except Refused as refused:
                found.extend(refused.findings)
    except Refused as refused:
        found.extend(refused.findings)
    except (StepFailed, Unavailable) as error:
        found.append(f"snapshot: {error}")
    return found


def _undo(work: Work) -> None:
    """Looking changed nothing."""


check_upgrade = Step(name="check_upgrade", title="Check before the upgrade", done=_done, do=_do, undo=_undo)
