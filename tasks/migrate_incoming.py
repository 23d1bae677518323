"""Migrate the incoming database up to the release that the target's web application runs.

Invariant: the application's own migration does it, on the neutralised copy, before anybody can reach it; the
web application itself notices nothing. Nothing is done when Production runs the same release.
"""

from __future__ import annotations

from collections.abc import Mapping

from policy.names import incoming_name
from tasks.application import stages
from tasks.pair import pair
from tasks.releases import installed_release
from tasks.step import Step, Work


def _is_newer(work: Work) -> bool:
    ends = pair(work)
    ours, theirs = (
        installed_release(work, work.estate.webapp(site.id)) for site in (ends.target.site, ends.source.site)
    )
    return ours.version.parts > theirs.version.parts


def _done(work: Work) -> bool:
    return not _is_newer(work)  # Otherwise the migration looks for itself what is left to do.


def _do(work: Work) -> Mapping[str, object]:
    if not _is_newer(work):
        return {"migrated": False}
    site = pair(work).target.site
    release = installed_release(work, work.estate.webapp(site.id))
    work.mid()
    result = stages(
        work,
        "migrate",
        release=release,
        only=[site.id.environment],
        databases={site.id.environment: incoming_name(site.database, work.run)},
    )
    return {"migrated": True, "to_version": str(release.version), "migrate_seconds": result.seconds}


def _undo(work: Work) -> None:
    """The incoming database is dropped whole by the step that created it."""


migrate_incoming = Step(
    name="migrate_incoming", title="Migrate the copy to the target's release", done=_done, do=_do, undo=_undo
)
