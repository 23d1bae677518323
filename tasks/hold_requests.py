"""Let users' requests wait at the door of the site that is refreshed, for the moment of the swap.

Invariant: nobody is turned away: a request waits until the door is opened again, or until the hold's lease
ends by itself. The web application goes on running, and other sites that share it notice nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.application import stages
from tasks.releases import target_release
from tasks.step import Step, Work


def _done(_work: Work) -> bool:
    return False  # A second worker's hold has a new lease.


def _do(work: Work) -> Mapping[str, object]:
    began = work.clock.now()
    stages(work, "hold", release=target_release(work), only=[work.request.site.environment])
    return {"offline_since": began.isoformat()}


def _undo(work: Work) -> None:
    stages(work, "maintenance_off", release=target_release(work), only=[work.request.site.environment])


hold_requests = Step(
    name="hold_requests", title="Let requests wait at the door", done=_done, do=_do, undo=_undo
)
