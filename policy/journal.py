"""What a run does next, decided from its journal alone.

Invariant: whatever prefix of a run was carried out before it was interrupted, following `next_move` from
there ends in one of three ways: everything done, everything taken back, or stuck with each failed undo on
record. Undoing goes through every step that was begun, in reverse, and never stops at the first failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Direction(StrEnum):
    """Whether a run still goes forward."""

    FORWARD = "forward"
    BACK = "back"


class EntryState(StrEnum):
    """How far a step got."""

    INTENDED = "intended"
    DONE = "done"
    UNDOING = "undoing"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One step of a run as the journal holds it."""

    step: str
    state: EntryState
    facts: Mapping[str, object] = field(default_factory=dict)
    error: str | None = None
    seconds: float | None = None
    undo_seconds: float | None = None
    started_at: datetime | None = None


@dataclass(frozen=True)
class Do:
    """Carry out `step`; when it was intended before, look first whether it is already there."""

    step: str
    look_first: bool


@dataclass(frozen=True)
class Undo:
    """Take `step` back."""

    step: str


class Finish(StrEnum):
    """Nothing is left to do."""

    DONE = "done"
    PUT_BACK = "put_back"
    STUCK = "stuck"


Move = Do | Undo | Finish


def next_move(steps: Sequence[str], journal: Sequence[Entry], direction: Direction) -> Move:
    """The one move that comes next.

    Args:
        steps: the names of the run's steps, in order.
        journal: the entries written so far, in any order.
        direction: of the run.
    """
    states = {entry.step: entry.state for entry in journal}
    if direction is Direction.FORWARD:
        for step in steps:
            if states.get(step) is not EntryState.DONE:
                return Do(step, look_first=step in states)
        return Finish.DONE
    begun = (EntryState.INTENDED, EntryState.DONE, EntryState.UNDOING)
    for step in reversed(steps):
        if states.get(step) in begun:
            return Undo(step)
    return Finish.STUCK if EntryState.UNDO_FAILED in states.values() else Finish.PUT_BACK
