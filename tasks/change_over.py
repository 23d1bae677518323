"""Change over to the release: migrate every database, switch the code, start. Taken back whole or not at all.

Invariant: databases are migrated Production first; when anything fails every one of them is restored from its
snapshot by rename and the code is switched back, so that no site is left on a half-way state.
"""

from __future__ import annotations

from collections.abc import Mapping

from policy.errors import NeedsHuman
from tasks.application import CHANGE_OVER, stages
from tasks.releases import target_release
from tasks.snapshots import kept
from tasks.step import Step, Work


def _done(work: Work) -> bool:
    return stages(work, *CHANGE_OVER, release=target_release(work), check=True).changed == 0


def _do(work: Work) -> Mapping[str, object]:
    result = stages(work, *CHANGE_OVER, release=target_release(work))
    return {
        "migrate_seconds": round(sum(task.seconds for task in result.tasks if task.stage == "migrate"), 2),
        "start_seconds": round(sum(task.seconds for task in result.tasks if task.stage == "start"), 2),
        "stage_seconds": result.seconds,
    }


def _undo(work: Work) -> None:
    servers = kept(work)
    # Nothing is restored unless everything can be: half an application on the old state helps nobody.
    gone = [words for keep in servers if (words := keep.gone())]
    if gone:
        raise NeedsHuman(
            "; ".join(gone) + "; nothing was restored, every copy that is left is kept, and the application "
            "stays off line"
        )
    stages(work, "stop", "put_back", release=target_release(work))
    for keep in servers:
        keep.restore()
        work.mid()


change_over = Step(name="change_over", title="Migrate, switch and start", done=_done, do=_do, undo=_undo)
