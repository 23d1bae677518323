"""Which release a run takes its web application to, and which one it came from.

Invariant: the release that ran before is what the ledger recorded for the web application, never a guess.
"""

from __future__ import annotations

from infra.ledger import installed
from infra.ledger.connection import Ledger
from policy.errors import Refused
from policy.estate import Release, Site, WebApp
from policy.names import Version
from policy.request import Kind
from tasks.step import Work


def target_release(work: Work) -> Release:
    """The release that the request asks for; for other work the one that the site's web application runs."""
    webapp = work.estate.webapp(work.request.site)
    if work.request.version is not None and work.request.kind is not Kind.ENGINE:
        return work.estate.release(webapp.application, work.request.version)
    return installed_release(work, webapp)


def installed_release(work: Work, webapp: WebApp) -> Release:
    """The release that `webapp` runs.

    Raises:
        Refused: the ledger does not know it, or the estate no longer declares it.
    """
    version = installed_version(Ledger(work.settings.ledger, work.settings.ledger_passfile), webapp)
    return work.estate.release(webapp.application, version)


def same_release(work: Work, one: Site, other: Site) -> bool:
    """Whether two sites run the same release."""
    ours, theirs = (work.estate.webapp(site.id) for site in (one, other))
    return ours == theirs or installed_release(work, ours) == installed_release(work, theirs)


def installed_version(ledger: Ledger, webapp: WebApp) -> Version:
    """The version that `webapp` runs, as the ledger recorded it.

    Raises:
        Refused: the ledger does not know it.
    """
    with ledger.transaction() as connection:
        found = installed.versions(connection).get(webapp.key)
    if found is None:
        raise Refused(
            f"version: what {webapp.key} runs is not recorded; record it with `freshet release installed`"
        )
    return found
