"""Let users' requests wait at the door of the site that is refreshed, for the moment of the swap.

Invariant: nobody is turned away: a request waits until the door is opened again, or until the hold's lease
ends by itself. The web application goes on running, and other sites that share it notice nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.application import get_ready, stages
from tasks.releases import target_release
from tasks.step import Step, Work


def get_ready_to_hold(work: Work) -> None:
    """Start Ansible for the door's hold and its opening, while there is still something to do aside."""
    only = [work.request.site.environment]
    get_ready(work, ("hold",), ("maintenance_off",), release=target_release(work), only=only, patience_s=0)


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
