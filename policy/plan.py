"""A plan: when each waiting request starts, how sure that is, and why not sooner.

Invariant: every request of the queue that the plan was made from has exactly one answer, and every answer has
a reason. Reasons are data; `policy.explain` puts them into words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from policy.names import RequestId


class Why(StrEnum):
    """What decides the moment at which a request starts, or that it has none."""

    NOW = "now"
    ASKED_FOR = "asked_for"
    CONFIRMED = "confirmed"
    WINDOW = "window"
    TOO_LITTLE_LEFT = "too_little_left"
    FREEZE = "freeze"
    START_BY = "start_by"
    BUSY = "busy"
    WINDOW_FULL = "window_full"
    PAUSED = "paused"
    DEFERRED = "deferred"
    ANSWER = "answer"
    LOCKED = "locked"
    NO_WINDOW = "no_window"
    TOO_LONG = "too_long"
    EXPIRED = "expired"
    FULL = "full"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a request starts when it does.

    Attributes:
        resource: what is short, for example `server:trial`.
        held_by: the request whose turn comes before and that holds it.
        at: the instant that the reason is about: the window's opening or end, the end of the freeze or pause.
        needed: the work with its put-back.
        left: what was left of the window.
        text: the freeze's or pause's own words.
    """

    why: Why
    resource: str = ""
    held_by: RequestId | None = None
    at: datetime | None = None
    needed: timedelta | None = None
    left: timedelta | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """A request that has its place.

    Attributes:
        end_expected: when the work will be over nine times out of ten.
        start_by: the latest start that still belongs to this place; None when it may start at any time later.
        position: 1 for whoever is next in `line`.
        line: the resource whose queue it stands in.
        eta_low: when it is done if everything goes as usual.
        eta_high: when it is done if it, and whatever holds it up, take long.
        kept: it is the date that was announced before.
    """

    request: RequestId
    start: datetime
    end_expected: datetime
    start_by: datetime | None
    position: int
    line: str
    eta_low: datetime
    eta_high: datetime
    reason: Reason
    kept: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Unplaceable:
    """A request that has no place at present.

    Attributes:
        position: its place in the line, kept while it waits for a pause to end; None when it has no turn.
    """

    request: RequestId
    reason: Reason
    position: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The answer to a queue at one instant."""

    made_at: datetime
    answers: Mapping[RequestId, Placement | Unplaceable]

    def placement(self, request: RequestId) -> Placement | None:
        """Where `request` is placed, or None."""
        answer = self.answers[request]
        return answer if isinstance(answer, Placement) else None

    def due(self, now: datetime) -> tuple[Placement, ...]:
        """What may start at `now`, in the order of the places."""
        found = [a for a in self.answers.values() if isinstance(a, Placement) and a.start <= now]
        return tuple(sorted(found, key=lambda a: (a.start, a.position, a.request.number)))
