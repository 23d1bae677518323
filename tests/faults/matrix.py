"""The matrix of kills: every place where a worker can die, and what must be true after the next one came.

Invariant: the places are generated from the flows' own steps, so a new step is in the matrix by itself; the
middles of acts are listed as they were met, and a test compares them with what a run really meets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import flows.refresh
import flows.undo
import flows.upgrade
from infra.failpoints import CLAIM, CONCLUDE, Moment, points
from policy.request import Kind
from tasks.step import Step

MODULES: Mapping[Kind, ModuleType] = {
    Kind.REFRESH: flows.refresh,
    Kind.UPGRADE: flows.upgrade,
    Kind.UNDO: flows.undo,
}

MIDDLES = {
    Kind.REFRESH: {
        "create_incoming": 1, "create_incoming.undo": 1, "copy_masked": 2, "neutralise": 1,
        "migrate_incoming": 2, "preserve": 1, "hold_requests": 1, "hold_requests.undo": 1, "swap": 1,
        "swap.undo": 1, "reopen": 1, "reopen.undo": 1,
    },
    Kind.UPGRADE: {
        "stage_release": 1, "take_offline": 2, "take_offline.undo": 2, "take_snapshot": 2,
        "take_snapshot.undo": 2, "change_over": 5, "change_over.undo": 3, "reopen": 1, "reopen.undo": 1,
    },
    Kind.UNDO: {
        "hold_requests": 1, "hold_requests.undo": 1, "undo_refresh": 1, "undo_refresh.undo": 1, "reopen": 1,
        "reopen.undo": 1,
    },
}  # fmt: skip
"""How many middles each act has when nothing was done before; what only looks has none."""


@dataclass(frozen=True)
class Case:
    """One kill.

    Attributes:
        kind: of the request.
        point: where the worker is killed.
        fails: the place that fails first, so that the run goes back; empty when it goes forward.
    """

    kind: Kind
    point: str
    fails: str = ""

    @property
    def failpoint(self) -> str:
        """For the worker's environment."""
        failing = f"{self.fails}=raise," if self.fails else ""
        return f"{failing}{self.point}=kill"

    def __str__(self) -> str:
        return f"{self.point}{'-after-' + self.fails if self.fails else ''}"


def steps_of(kind: Kind) -> Sequence[Step]:
    """The steps of a flow, as it hands them over."""
    module = MODULES[kind]
    seen: list[Step] = []

    def catch(_: str, *steps: Step) -> None:
        seen.extend(steps)

    kept = vars(module)["run_request"]
    vars(module)["run_request"] = catch
    try:
        getattr(module, kind.value).fn("R1")
    finally:
        vars(module)["run_request"] = kept
    return seen


def every_point(kind: Kind) -> Iterator[str]:
    """Every place where a worker of `kind` dies, with as many middles as each act has."""
    for point in points(kind.value, [step.name for step in steps_of(kind)]):
        act, _, moment = point.removeprefix(f"{kind.value}.").rpartition(".")
        if moment != Moment.MID or act in {CLAIM, CONCLUDE}:
            yield point
            continue
        for number in range(1, MIDDLES[kind].get(act, 0) + 1):
            yield point if number == 1 else f"{point}.{number}"


def every_case() -> Iterator[Case]:
    """The whole matrix.

    A put-back is begun by a failure of the very step that is taken back, which is fast, or by one of the last
    step, after which everything has to be taken back; the moments of each step take turns.
    """
    for kind in MODULES:
        names = [step.name for step in steps_of(kind)]
        for point in every_point(kind):
            step, back, moment = point.removeprefix(f"{kind.value}.").partition(".undo.")
            if not back:
                yield Case(kind, point)
                continue
            whole = moment in {Moment.BEFORE_INTENT, Moment.MID, "mid.2", "mid.3"}
            failing = names[-1] if whole else step
            yield Case(kind, point, fails=f"{kind.value}.{failing}.{Moment.AFTER_ACT}")
        yield Case(
            kind,
            f"{kind.value}.{CONCLUDE}.{Moment.MID}",
            fails=f"{kind.value}.{names[-1]}.{Moment.AFTER_ACT}",
        )
