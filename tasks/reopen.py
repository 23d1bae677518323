"""Reopen the web application to its users: downtime ends here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from policy.names import Environment
from policy.request import Kind
from tasks.application import stages
from tasks.releases import target_release
from tasks.step import Step, Work


def _only(work: Work) -> tuple[Environment, ...]:
    return () if work.request.kind in {Kind.UPGRADE, Kind.ENGINE} else (work.request.site.environment,)


def _done(work: Work) -> bool:
    return (
        stages(work, "maintenance_off", release=target_release(work), only=_only(work), check=True).changed
        == 0
    )


def _do(work: Work) -> Mapping[str, object]:
    stages(work, "maintenance_off", release=target_release(work), only=_only(work))
    since = work.fact("take_offline", "offline_since") or work.fact("hold_requests", "offline_since")
    if not isinstance(since, str):
        return {}
    return {"offline_seconds": round((work.clock.now() - datetime.fromisoformat(since)).total_seconds(), 2)}


def _undo(work: Work) -> None:
    """Close the doors again, before anything behind them is taken back."""
    stage = "maintenance_on" if work.request.kind in {Kind.UPGRADE, Kind.ENGINE} else "hold"
    stages(work, stage, release=target_release(work), only=_only(work))


reopen = Step(name="reopen", title="Reopen to users", done=_done, do=_do, undo=_undo)
