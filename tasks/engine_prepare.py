"""Prepare the new version while the old one serves: an empty server with the same settings, beside it.

Invariant: nothing of the old server is touched; its new configuration has been read by the new programs.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.engine_stages import engine_of, engine_stages, put_back
from tasks.step import Step, Work


def _done(work: Work) -> bool:
    return engine_stages(work, engine_of(work), "prepare", check=True).changed == 0


def _do(work: Work) -> Mapping[str, object]:
    result = engine_stages(work, engine_of(work), "prepare")
    return {"changed": result.changed, "seconds": result.seconds}


def _undo(work: Work) -> None:
    if work.fact("check_engine", "upgraded") is not True:
        put_back(work, engine_of(work))


prepare_engine = Step(name="prepare_engine", title="Prepare the new version", done=_done, do=_do, undo=_undo)
