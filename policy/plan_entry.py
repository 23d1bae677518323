"""What the planner remembers of one waiting request, in whole minutes."""

from __future__ import annotations

from policy.openings import minute, minutes
from policy.pause import Pause
from policy.timeline import NO_TURN, Turn
from policy.waiting import EVERYTHING, Waiting


class Entry:
    """A waiting request in the plan.

    Attributes:
        turn: where it stands in the queue.
        kept: it stands there by its announced date.
        earliest: before this it does not start, whatever is free.
        start: where it is placed, or None.
        pause: the pause that covers it; `paused` when that keeps it from having a date.
        blocked: which limits kept it from starting sooner, and between which minutes each of them did; the
            proof that nothing sooner is free holds until one of these gives something back.
    """

    __slots__ = (
        "asked_for",
        "blocked",
        "confirmed",
        "earliest",
        "kept",
        "length",
        "line",
        "needed",
        "pause",
        "paused",
        "start",
        "turn",
        "waiting",
    )

    def __init__(self, waiting: Waiting) -> None:
        """Take `waiting` in, without a turn and without a place."""
        self.waiting = waiting
        self.turn: Turn = NO_TURN
        self.kept = False
        self.earliest = 0
        self.start: int | None = None
        self.blocked: dict[str, tuple[int, int]] = {}
        self.pause: Pause | None = None
        self.paused = False
        self.length = minutes(waiting.expected)
        self.needed = minutes(waiting.expected + waiting.put_back)
        self.asked_for = 0 if waiting.not_before is None else minute(waiting.not_before)
        self.confirmed = 0 if waiting.confirmed is None else minute(waiting.confirmed)
        self.line = next((u.resource for u in waiting.uses if u.resource.startswith("server:")), EVERYTHING)
