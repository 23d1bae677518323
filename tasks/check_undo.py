"""Check before an undo: whether the database of before is there and still fits, before any user has to wait.

Invariant: only looks. A finding ends the run with the site untouched; the undo itself looks once more.
"""

from __future__ import annotations

from collections.abc import Mapping

from policy.errors import Refused
from tasks.pair import pair
from tasks.step import Step, Work
from tasks.undo_refresh import judge_undo


def _done(_work: Work) -> bool:
    return False


def _do(work: Work) -> Mapping[str, object]:
    ends = pair(work)
    with ends.on_server() as server:
        found, findings = judge_undo(work, ends, server)
    if findings or found is None:
        raise Refused(*findings)
    return {"comes_back": found.name, "set_aside_at": found.tag.at.isoformat(), "bytes": found.bytes}


def _undo(work: Work) -> None:
    """Looking changed nothing."""


check_undo = Step(name="check_undo", title="Check before the undo", done=_done, do=_do, undo=_undo)
