"""How a request moves from one status to the next: every legal transition, and who may cause it.

Invariant: a request's status changes only along `TRANSITIONS`. The ledger holds the same table
(`legal_pairs`) and refuses every other change, so that no code path, old worker or hand-written statement can
bend it. An open state has no outcome; an ended one has exactly one.

The mission has nine statuses and no word for "cancelled": something prevented the work, so a cancelled or
expired request shows `Unable to Complete`, and its outcome says which of the two it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from policy.errors import Refused
from policy.request import Outcome, Status


class Actor(StrEnum):
    """Who causes a change."""

    CONTACT = "contact"
    ENGINEER = "engineer"
    FRESHET = "freshet"


class Event(StrEnum):
    """What can happen to a request, as a verb."""

    SCHEDULE = "schedule"
    """A date is confirmed."""
    UNSCHEDULE = "unschedule"
    """The confirmed date fell away and no other is known yet."""
    MOVE = "move"
    """Another date, asked for or confirmed."""
    CANCEL = "cancel"
    SUPERSEDE = "supersede"
    """A newer version was asked for in another request, which takes this one's wishes over."""
    DEFER = "defer"
    RESUME = "resume"
    ASK = "ask"
    """A question is put to the customer or a specialist, before any work begins: a run waits for nobody."""
    ANSWER = "answer"
    PULL = "pull"
    """Taken from the queue, about to begin."""
    BEGIN = "begin"
    RELEASE = "release"
    """The run ended before it changed anything (busy, outage): back to its place in the queue."""
    COMPLETE = "complete"
    PUT_BACK = "put_back"
    """The run failed or was refused, and the site is as before."""
    STICK = "stick"
    """The run failed and could not be put back: the site is locked."""
    EXPIRE = "expire"
    """Its start-by passed and no later window is left to it."""
    CLEAR = "clear"
    """A person made a stuck site as it was before, and unlocks it."""
    CONFIRM = "confirm"
    """A person finished the work of a stuck run by hand, and unlocks the site."""
    RETRY = "retry"
    """A failed or expired request is given a new chance: the offered new date was taken."""


class State(NamedTuple):
    """Where a request stands."""

    status: Status
    outcome: Outcome | None = None

    @property
    def ended(self) -> bool:
        """Nothing more is going to happen by itself."""
        return self.outcome is not None


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One row of the table.

    Attributes:
        to: where the request stands afterwards.
        by: who may cause it.
    """

    to: State
    by: frozenset[Actor]


BORN = State(Status.TO_BE_SCHEDULED)
"""The state of a request that was just accepted."""

TO_BE_SCHEDULED = BORN
SCHEDULED = State(Status.SCHEDULED)
NOT_STARTED = State(Status.NOT_STARTED)
IN_PROGRESS = State(Status.IN_PROGRESS)
PENDING_INPUT = State(Status.PENDING_INPUT)
DEFERRED = State(Status.DEFERRED)
DONE = State(Status.COMPLETED, Outcome.DONE)
WAS_PUT_BACK = State(Status.UNABLE_TO_COMPLETE, Outcome.PUT_BACK)
STUCK = State(Status.UNABLE_TO_COMPLETE, Outcome.STUCK)
CANCELLED = State(Status.UNABLE_TO_COMPLETE, Outcome.CANCELLED)
EXPIRED = State(Status.UNABLE_TO_COMPLETE, Outcome.EXPIRED)
SUPERSEDED = State(Status.NEW_VERSION_REQUESTED, Outcome.SUPERSEDED)

STATES: frozenset[State] = frozenset(
    {
        TO_BE_SCHEDULED,
        SCHEDULED,
        NOT_STARTED,
        IN_PROGRESS,
        PENDING_INPUT,
        DEFERRED,
        DONE,
        WAS_PUT_BACK,
        STUCK,
        CANCELLED,
        EXPIRED,
        SUPERSEDED,
    }
)
"""Every pair of status and outcome that can exist."""

_ANYONE = frozenset(Actor)
_HOSTING = frozenset({Actor.ENGINEER, Actor.FRESHET})
_PEOPLE = frozenset({Actor.CONTACT, Actor.ENGINEER})
_ENGINEER = frozenset({Actor.ENGINEER})
_FRESHET = frozenset({Actor.FRESHET})


def _go(to: State, by: frozenset[Actor]) -> Transition:
    return Transition(to=to, by=by)


TRANSITIONS: Mapping[tuple[State, Event], Transition] = MappingProxyType(
    {
        (TO_BE_SCHEDULED, Event.SCHEDULE): _go(SCHEDULED, _HOSTING),
        (TO_BE_SCHEDULED, Event.MOVE): _go(TO_BE_SCHEDULED, _ANYONE),
        (TO_BE_SCHEDULED, Event.CANCEL): _go(CANCELLED, _ANYONE),
        (TO_BE_SCHEDULED, Event.SUPERSEDE): _go(SUPERSEDED, _ANYONE),
        (TO_BE_SCHEDULED, Event.DEFER): _go(DEFERRED, _HOSTING),
        (TO_BE_SCHEDULED, Event.ASK): _go(PENDING_INPUT, _HOSTING),
        (TO_BE_SCHEDULED, Event.EXPIRE): _go(EXPIRED, _FRESHET),
        (SCHEDULED, Event.UNSCHEDULE): _go(TO_BE_SCHEDULED, _HOSTING),
        (SCHEDULED, Event.MOVE): _go(SCHEDULED, _ANYONE),
        (SCHEDULED, Event.CANCEL): _go(CANCELLED, _ANYONE),
        (SCHEDULED, Event.SUPERSEDE): _go(SUPERSEDED, _ANYONE),
        (SCHEDULED, Event.DEFER): _go(DEFERRED, _HOSTING),
        (SCHEDULED, Event.ASK): _go(PENDING_INPUT, _HOSTING),
        (SCHEDULED, Event.EXPIRE): _go(EXPIRED, _FRESHET),
        (SCHEDULED, Event.PULL): _go(NOT_STARTED, _FRESHET),
        (NOT_STARTED, Event.BEGIN): _go(IN_PROGRESS, _FRESHET),
        (NOT_STARTED, Event.RELEASE): _go(SCHEDULED, _HOSTING),
        (NOT_STARTED, Event.PUT_BACK): _go(WAS_PUT_BACK, _FRESHET),
        (NOT_STARTED, Event.STICK): _go(STUCK, _FRESHET),
        (NOT_STARTED, Event.EXPIRE): _go(EXPIRED, _FRESHET),
        (IN_PROGRESS, Event.COMPLETE): _go(DONE, _FRESHET),
        (IN_PROGRESS, Event.RELEASE): _go(SCHEDULED, _FRESHET),
        (IN_PROGRESS, Event.PUT_BACK): _go(WAS_PUT_BACK, _FRESHET),
        (IN_PROGRESS, Event.STICK): _go(STUCK, _FRESHET),
        (PENDING_INPUT, Event.ANSWER): _go(TO_BE_SCHEDULED, _PEOPLE),
        (PENDING_INPUT, Event.DEFER): _go(DEFERRED, _HOSTING),
        (PENDING_INPUT, Event.SUPERSEDE): _go(SUPERSEDED, _ANYONE),
        (DEFERRED, Event.RESUME): _go(TO_BE_SCHEDULED, _HOSTING),
        (DEFERRED, Event.SUPERSEDE): _go(SUPERSEDED, _ANYONE),
        (STUCK, Event.CLEAR): _go(WAS_PUT_BACK, _ENGINEER),
        (STUCK, Event.CONFIRM): _go(DONE, _ENGINEER),
        (WAS_PUT_BACK, Event.RETRY): _go(TO_BE_SCHEDULED, _PEOPLE),
        (EXPIRED, Event.RETRY): _go(TO_BE_SCHEDULED, _PEOPLE),
    }
)

_WORDS: Mapping[Event, str] = MappingProxyType(
    {
        Event.SCHEDULE: "be given a date",
        Event.UNSCHEDULE: "lose its date",
        Event.MOVE: "be moved to another date",
        Event.CANCEL: "be cancelled",
        Event.SUPERSEDE: "be taken over by a newer request",
        Event.DEFER: "be put on hold",
        Event.RESUME: "be resumed",
        Event.ASK: "be stopped for a question",
        Event.ANSWER: "be answered",
        Event.PULL: "be taken from the queue",
        Event.BEGIN: "begin",
        Event.RELEASE: "go back into the queue",
        Event.COMPLETE: "be completed",
        Event.PUT_BACK: "end as put back",
        Event.STICK: "end as stuck",
        Event.EXPIRE: "expire",
        Event.CLEAR: "be cleared",
        Event.CONFIRM: "be confirmed as finished by hand",
        Event.RETRY: "be tried again",
    }
)


def advance(status: Status, outcome: Outcome | None, event: Event, by: Actor) -> State:
    """Where a request in (`status`, `outcome`) stands after `event` caused by `by`.

    Args:
        status: its status now.
        outcome: its outcome now; None while it is open.
        event: what happened.
        by: who caused it.

    Raises:
        Refused: the table has no such transition, or not for this actor.
    """
    transition = TRANSITIONS.get((State(status, outcome), event))
    if transition is None:
        raise Refused(_impossible(State(status, outcome), event))
    if by not in transition.by:
        allowed = " or ".join(actor.value for actor in Actor if actor in transition.by)
        raise Refused(
            f"action: in status '{status.value}' a request can {_WORDS[event]}, but only {allowed} may do "
            f"that, not {by.value}"
        )
    return transition.to


def possible(status: Status, outcome: Outcome | None, by: Actor) -> frozenset[Event]:
    """Every event that `by` may cause now; what a list of buttons shows."""
    here = State(status, outcome)
    return frozenset(
        event for (state, event), transition in TRANSITIONS.items() if state == here and by in transition.by
    )


def deletable(status: Status, outcome: Outcome | None) -> bool:
    """Whether a request may be deleted from the list: ended, and not holding a site locked."""
    state = State(status, outcome)
    return state.ended and state != STUCK


def waiting(status: Status) -> bool:
    """Whether a request still stands in the queue: one per site and kind."""
    return status in {Status.TO_BE_SCHEDULED, Status.SCHEDULED, Status.DEFERRED, Status.PENDING_INPUT}


def legal_pairs() -> frozenset[tuple[Status, Outcome | None, Status, Outcome | None]]:
    """Every change of (status, outcome) that the table allows, for the ledger's own copy."""
    return frozenset(
        (here.status, here.outcome, transition.to.status, transition.to.outcome)
        for (here, _), transition in TRANSITIONS.items()
    )


def _impossible(state: State, event: Event) -> str:
    stands = f"'{state.status.value}'" + (f" ({state.outcome.value})" if state.outcome else "")
    origins = sorted({f"'{here.status.value}'" for here, known in TRANSITIONS if known is event})
    where = origins[0] if len(origins) == 1 else f"{', '.join(origins[:-1])} or {origins[-1]}"
    return f"action: a request in status {stands} cannot {_WORDS[event]}; that is possible from {where}"
