"""Stage the release on the hosts, beside the one that runs: nothing of it is downtime."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.application import stages
from tasks.releases import target_release
from tasks.step import Step, Work


def _done(work: Work) -> bool:
    return stages(work, "stage_release", release=target_release(work), check=True).changed == 0


def _do(work: Work) -> Mapping[str, object]:
    release = target_release(work)
    result = stages(work, "stage_release", release=release)
    return {"release": str(release.version), "lock_sha256": release.sha256, "changed_tasks": result.changed}


def _undo(work: Work) -> None:
    """A staged release disturbs nobody; `clean_up` removes what is not needed any more."""


stage_release = Step(
    name="stage_release", title="Stage the release on the hosts", done=_done, do=_do, undo=_undo
)
