"""Puts a plan's reasons into one plain sentence each, in the reader's own time.

Invariant: every reason has a sentence, and the sentence says what the request waits for and, where it is
known, until when. Nobody has to know what a resource is called inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

from policy.local_time import clock_for_people, day_for_people, duration_for_people, for_people
from policy.plan import Placement, Reason, Unplaceable, Why
from policy.waiting import EVERYTHING

_KINDS: Mapping[str, str] = MappingProxyType(
    {"webapp": "web application", "database": "database", "server": "database server", "host": "host"}
)
_LAST_TENS = frozenset({11, 12, 13})


def explain(reason: Reason, zone: ZoneInfo) -> str:
    """Why a request starts when it does, or has no date, as one sentence."""
    return _SENTENCES[reason.why](reason, zone)


def explain_answer(answer: Placement | Unplaceable, zone: ZoneInfo) -> str:
    """Where a waiting request stands: its date, its place in the queue and the reason, in plain words."""
    why = explain(answer.reason, zone)
    if isinstance(answer, Unplaceable):
        place = "" if answer.position is None else f" It keeps its place in the queue ({answer.position})."
        return f"No date yet: {why}{place}"
    return (
        f"Starts {for_people(answer.start, zone)}, done {span_for_people(answer, zone)}; "
        f"{ordinal(answer.position)} in the queue for {thing(answer.line)}. "
        f"{why[0].upper()}{why[1:]}"
    )


def span_for_people(answer: Placement, zone: ZoneInfo) -> str:
    """When a placed request will be done: `between 04:40 and 05:10 CST`."""
    low, high = answer.eta_low.astimezone(zone), answer.eta_high.astimezone(zone)
    if low.date() == high.date() and low.utcoffset() == high.utcoffset():
        return f"between {low:%H:%M} and {clock_for_people(answer.eta_high, zone)}"
    return f"between {for_people(answer.eta_low, zone)} and {for_people(answer.eta_high, zone)}"


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `11th`."""
    ending = "th" if number % 100 in _LAST_TENS else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def thing(resource: str) -> str:
    """A limited thing in plain words: `database server trial`."""
    if resource == EVERYTHING:
        return "the hosting team's runs"
    kind, _, name = resource.partition(":")
    return f"{_KINDS.get(kind, kind)} {name}"


def _when(at: datetime | None, zone: ZoneInfo) -> str:
    return "later" if at is None else for_people(at, zone)


def _busy(reason: Reason, zone: ZoneInfo) -> str:
    if reason.resource == EVERYTHING:
        taken = "as many runs as are allowed at once are planned"
    else:
        taken = f"{thing(reason.resource)} is taken"
    holder = f" by {reason.held_by}, whose turn comes first," if reason.held_by else ""
    return f"{taken}{holder} until {_when(reason.at, zone)}."


def _full(reason: Reason, zone: ZoneInfo) -> str:
    short = f": {thing(reason.resource)} is taken throughout" if reason.resource else ""
    day = "" if reason.at is None else f" of {day_for_people(reason.at, zone)}"
    return (
        f"the window{day} is full{short} by requests whose turn comes before, so it waits for the next one."
    )


def _too_little(reason: Reason, zone: ZoneInfo) -> str:
    needed, left = reason.needed or timedelta(0), reason.left or timedelta(0)
    return (
        f"the work and, if need be, putting it back take {duration_for_people(needed)}, but only "
        f"{duration_for_people(left)} are left of the window that ends {_when(reason.at, zone)}, so it waits "
        "for the next one."
    )


def _too_long(reason: Reason, zone: ZoneInfo) -> str:
    del zone
    needed, left = reason.needed or timedelta(0), reason.left or timedelta(0)
    return (
        f"the work and, if need be, putting it back take {duration_for_people(needed)}, longer than any "
        f"window ({duration_for_people(left)}); the hosting team has to agree on a longer one."
    )


def _paused(reason: Reason, zone: ZoneInfo) -> str:
    until = "until somebody lifts that" if reason.at is None else f"until {_when(reason.at, zone)}"
    return f"{reason.text}; it waits {until}."


def _fixed(sentence: str) -> Callable[[Reason, ZoneInfo], str]:
    def say(reason: Reason, zone: ZoneInfo) -> str:
        return sentence.format(when=_when(reason.at, zone), text=reason.text, what=thing(reason.resource))

    return say


_SENTENCES: Mapping[Why, Callable[[Reason, ZoneInfo], str]] = MappingProxyType(
    {
        Why.NOW: _fixed("nothing keeps it waiting; it is about to start."),
        Why.ASKED_FOR: _fixed("this is the time that was asked for."),
        Why.CONFIRMED: _fixed("this date was confirmed and stands."),
        Why.WINDOW: _fixed("it waits for its maintenance window, which opens {when}."),
        Why.TOO_LITTLE_LEFT: _too_little,
        Why.FREEZE: _fixed("nothing may start during a freeze ({text}); it waits until {when}."),
        Why.START_BY: _fixed("it could not start by {when}, so it waits for the next time it may."),
        Why.BUSY: _busy,
        Why.WINDOW_FULL: _full,
        Why.PAUSED: _paused,
        Why.DEFERRED: _fixed("the hosting team has put it on hold until further notice."),
        Why.ANSWER: _fixed("it waits for the answer to a question."),
        Why.LOCKED: _fixed("the site is locked after a failed run until an engineer has cleared it."),
        Why.NO_WINDOW: _fixed("the customer has no maintenance window ahead; the hosting team declares one."),
        Why.TOO_LONG: _too_long,
        Why.EXPIRED: _fixed("it had to start by {when}, and no later time was agreed on."),
        Why.FULL: _fixed("{what} has no room for it within the next 400 days; the hosting team looks at it."),
    }
)
