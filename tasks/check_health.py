"""Check the health of every site of the web application, as a user who signs in would.

Invariant: a site counts as healthy only after several good rounds in a row, on the version and the schema
that were asked for; an answer of the old version never counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from infra.checks import Baseline, CheckResult, Subject, healthy, load_checks, run_checks, take_baseline
from infra.postgres.session import connect
from policy.errors import StepFailed
from policy.estate import Release, Site
from policy.request import Kind
from tasks.application import administrator_secret, served
from tasks.releases import target_release
from tasks.step import Step, Work


def sites_of(work: Work) -> tuple[Site, ...]:
    """The sites that the run changes: all of the web application, or the one that is refreshed."""
    if work.request.kind in {Kind.UPGRADE, Kind.ENGINE}:
        return served(work)[1]
    return (work.estate.site(work.request.site),)


def baselines(work: Work) -> Mapping[str, Mapping[str, object]]:
    """How each site is now, for comparison afterwards; by environment."""
    checks = load_checks(served(work)[0].application)
    return {
        site.id.environment.value: dict(take_baseline(checks, _subject(work, site)).values)
        for site in sites_of(work)
    }


def wait_until_healthy(
    work: Work, release: Release, compare_with: Mapping[str, Mapping[str, object]] | None = None
) -> Mapping[str, object]:
    """Check every site until it is healthy on `release`.

    Args:
        work: the run.
        release: whose version and expectations must be met.
        compare_with: the baselines from before, by environment.

    Returns:
        What each check saw, for the report.

    Raises:
        StepFailed: a site is not healthy; the message says which check saw what.
    """
    checks = load_checks(served(work)[0].application)

    def look(site: Site) -> tuple[CheckResult, ...]:
        before = (compare_with or {}).get(site.id.environment.value)
        return run_checks(
            checks,
            _subject(work, site),
            expect={"version": str(release.version), **release.expect},
            baseline=None if before is None else Baseline(values=before),
        )

    sites = sites_of(work)
    # Users of all of them wait for the verdict.
    with ThreadPoolExecutor(max_workers=len(sites)) as pool:
        found = dict(zip(sites, pool.map(look, sites), strict=True))
    for site, results in found.items():
        _keep(work, site, results)
    for site, results in found.items():
        if not healthy(results):
            wrong = "; ".join(f"{result.title}: {result.evidence}" for result in results if not result.good)
            raise StepFailed(f"{site.id} is not healthy on {release.version}: {wrong}")
    return {
        site.id.environment.value: {result.name: f"good in {result.seconds:.2f} s" for result in results}
        for site, results in found.items()
    }


def _subject(work: Work, site: Site) -> Subject:
    server = work.estate.servers[site.server]
    webapp = work.estate.webapp(site.id)
    return Subject(
        url=site.url,
        connect=lambda: connect(server, site.database, server.owner, work.secrets, run=work.run),
        password=work.secrets.read(administrator_secret(work.estate, site)),
        webapp_key=webapp.key,
    )


def _keep(work: Work, site: Site, results: Sequence[CheckResult]) -> None:
    folder = work.scratch / "evidence"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = [
        {
            "check": result.name,
            "title": result.title,
            "good": result.good,
            "seconds": result.seconds,
            "evidence": result.evidence,
        }
        for result in results
    ]
    path = folder / f"checks-{site.id.environment.value}.json"
    path.write_text(json.dumps(lines, indent=1), encoding="utf-8")


def _done(_work: Work) -> bool:
    return False  # Health is a fact about now.


def _do(work: Work) -> Mapping[str, object]:
    before = work.fact("check_upgrade", "baselines") or work.fact("check_refresh", "baselines")
    return {
        "checks": wait_until_healthy(
            work, target_release(work), before if isinstance(before, Mapping) else None
        )
    }


def _undo(work: Work) -> None:
    """Looking changed nothing."""


check_health = Step(name="check_health", title="Check the health", done=_done, do=_do, undo=_undo)
