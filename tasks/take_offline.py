"""Take the web application offline: a page for its users, then the stop. Downtime begins here.

What comes after it is made ready before it, as far as that can be: until then users wait for nothing.

Invariant: the page is lifted on every path: `reopen` lifts it after success, the undo of this step after a
put-back, and whoever takes over a dead worker's run comes to one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from infra.ansible import StageResult
from policy.request import Kind
from tasks.application import CHANGE_OVER, get_ready, served, stages
from tasks.check_health import wait_until_healthy
from tasks.releases import installed_release, target_release
from tasks.step import Step, Work

EXPECTED = timedelta(minutes=5)
"""What users are promised when this web application has no history yet."""


def _done(_work: Work) -> bool:
    return False  # Both stages are idempotent, and a second worker's page has a new promise to make.


def _do(work: Work) -> Mapping[str, object]:
    release = target_release(work)
    if work.request.kind is Kind.UPGRADE:
        get_ready(work, CHANGE_OVER, ("maintenance_off",), release=release)
    began = work.clock.now()
    result = stages(work, "maintenance_on", "stop", release=release, back_by=began + EXPECTED)
    since = max(began, work.clock.now() - _at_work(result))
    return {"offline_since": since.isoformat(), "stage_seconds": result.seconds}


def _at_work(result: StageResult) -> timedelta:
    """How long the stages worked, Ansible's own start left out: users notice nothing of that."""
    by_host: dict[str, float] = {}
    for task in result.tasks:
        by_host[task.host] = by_host.get(task.host, 0.0) + task.seconds
    return timedelta(seconds=max(by_host.values(), default=0))


def _undo(work: Work) -> None:
    webapp, _ = served(work)
    before = installed_release(work, webapp)
    stages(work, "start", release=before)
    wait_until_healthy(work, before)
    stages(work, "maintenance_off", release=before)


take_offline = Step(name="take_offline", title="Take the application offline", done=_done, do=_do, undo=_undo)
