"""Start the web application again behind its closed door, on the release that it ran before.

Invariant: what starts here is stopped again before the server behind it is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.application import served, stages
from tasks.releases import installed_release
from tasks.step import Step, Work


def _done(work: Work) -> bool:
    return stages(work, "start", release=installed_release(work, served(work)[0]), check=True).changed == 0


def _do(work: Work) -> Mapping[str, object]:
    result = stages(work, "start", release=installed_release(work, served(work)[0]))
    return {"start_seconds": result.seconds}


def _undo(work: Work) -> None:
    stages(work, "stop", release=installed_release(work, served(work)[0]))


start_again = Step(name="start_again", title="Start the application again", done=_done, do=_do, undo=_undo)
