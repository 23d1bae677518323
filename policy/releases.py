"""Which releases a site may be taken to.

Invariant: of each version line only the newest published pack may be chosen, and only one that is newer than
what is installed; a release whose day of publication has not come does not exist yet.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import dropwhile

from policy.estate import Estate, Release, ReleaseKind
from policy.names import ApplicationName, SiteId, Version


def rank(version: Version) -> tuple[int, ...]:
    """For ordering: `26.5` and `26.5.0` are the same release."""
    return tuple(reversed(tuple(dropwhile(lambda part: part == 0, reversed(version.parts)))))


def published(estate: Estate, application: ApplicationName, now: datetime) -> tuple[Release, ...]:
    """The releases of `application` that exist at `now`, oldest first."""
    today = now.astimezone(UTC).date()
    found = (r for r in estate.releases if r.application == application and r.published <= today)
    return tuple(sorted(found, key=lambda release: rank(release.version)))


def newest_packs(estate: Estate, application: ApplicationName, now: datetime) -> tuple[Release, ...]:
    """The newest pack of each line, oldest line first."""
    newest = {release.line: release for release in published(estate, application, now)}
    return tuple(sorted(newest.values(), key=lambda release: rank(release.version)))


def choices(estate: Estate, site: SiteId, installed: Version | None, now: datetime) -> tuple[Release, ...]:
    """What can be chosen for `site`: newest packs that are newer than `installed`."""
    packs = newest_packs(estate, estate.webapp(site).application, now)
    return tuple(r for r in packs if installed is None or rank(r.version) > rank(installed))


def check_version(
    estate: Estate,
    site: SiteId,
    version: Version,
    installed: Version | None,
    now: datetime,
    *,
    chosen_before: bool = False,
) -> tuple[str, ...]:
    """Every reason why `site` may not be taken to `version`.

    Args:
        estate: what is hosted and published.
        site: the site.
        version: what was asked for.
        installed: what its web application runs now; None when that is not known.
        now: the present instant.
        chosen_before: the version was the newest of its line when it was asked for; a pack that came out
            since does not turn an accepted request down.
    """
    application = estate.webapp(site).application
    known = {release.version: release for release in published(estate, application, now)}
    allowed = ", ".join(r.version for r in choices(estate, site, installed, now)) or "none"
    release = known.get(version)
    if release is None:
        return (f"version: {application} {version} is not published; {site} can be taken to: {allowed}",)
    findings = []
    newest = {r.line: r.version for r in newest_packs(estate, application, now)}[release.line]
    if version != newest and not chosen_before:
        findings.append(
            f"version: {version} is not the newest pack of line {release.line}; ask for {newest} instead"
        )
    if installed is not None and rank(version) <= rank(installed):
        findings.append(
            f"version: {site} already runs {installed}, which is not older than {version}; "
            f"it can be taken to: {allowed}"
        )
    return tuple(findings)


def mandatory(estate: Estate, site: SiteId, version: Version) -> bool:
    """Whether `version` is a mandatory security release, whose date the customer cannot refuse."""
    release = estate.release(estate.webapp(site).application, version)
    return release.kind is ReleaseKind.SECURITY_MANDATORY


def due_security(estate: Estate, site: SiteId, installed: Version, now: datetime) -> Release | None:
    """The newest mandatory security release that `site` still lacks."""
    lacking = [
        release
        for release in choices(estate, site, installed, now)
        if release.kind is ReleaseKind.SECURITY_MANDATORY
    ]
    return lacking[-1] if lacking else None
