"""The transition table: only what it says is possible, and it says what the mission says."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from policy.errors import Refused
from policy.lifecycle import (
    BORN,
    STATES,
    STUCK,
    TRANSITIONS,
    Actor,
    Event,
    State,
    advance,
    deletable,
    legal_pairs,
    possible,
    waiting,
)
from policy.request import Outcome, Status

OPEN = {
    Status.TO_BE_SCHEDULED,
    Status.SCHEDULED,
    Status.NOT_STARTED,
    Status.IN_PROGRESS,
    Status.PENDING_INPUT,
    Status.DEFERRED,
}


def test_all_nine_statuses_and_all_outcomes_can_be_reached() -> None:
    reached, edge = {BORN}, [BORN]
    while edge:
        here = edge.pop()
        for (state, _), transition in TRANSITIONS.items():
            if state == here and transition.to not in reached:
                reached.add(transition.to)
                edge.append(transition.to)
    assert reached == STATES
    assert {state.status for state in reached} == set(Status)
    assert {state.outcome for state in reached} == {None, *Outcome}


def test_open_states_have_no_outcome_and_ended_ones_have_one() -> None:
    for state in STATES:
        assert (state.status in OPEN) == (state.outcome is None)
        assert state.ended == (state.outcome is not None)


@pytest.mark.parametrize("actor", [Actor.CONTACT, Actor.ENGINEER])
def test_cancel_is_possible_in_two_statuses_only(actor: Actor) -> None:
    cancellable = {state.status for state in STATES if Event.CANCEL in possible(*state, actor)}
    assert cancellable == {Status.TO_BE_SCHEDULED, Status.SCHEDULED}


@pytest.mark.parametrize(("state", "event"), list(product(sorted(STATES, key=str), Event)))
def test_advance_follows_the_table_for_every_state_event_and_actor(state: State, event: Event) -> None:
    for actor in Actor:
        row = TRANSITIONS.get((state, event))
        if row is not None and actor in row.by:
            assert advance(*state, event, actor) == row.to
            assert event in possible(*state, actor)
        else:
            with pytest.raises(Refused, match=r"^action: ") as refusal:
                advance(*state, event, actor)
            assert event not in possible(*state, actor)
            assert "'" in str(refusal.value)


def test_a_pair_without_a_row_is_not_legal_for_the_ledger_either() -> None:
    pairs = legal_pairs()
    assert (Status.IN_PROGRESS, None, Status.COMPLETED, Outcome.DONE) in pairs
    assert (Status.IN_PROGRESS, None, Status.UNABLE_TO_COMPLETE, Outcome.CANCELLED) not in pairs
    assert (Status.COMPLETED, Outcome.DONE, Status.TO_BE_SCHEDULED, None) not in pairs
    assert len(pairs) < len(STATES) ** 2 / 2
    for before, after in product(STATES, repeat=2):
        found = any(s == before and t.to == after for (s, _), t in TRANSITIONS.items())
        assert ((*before, *after) in pairs) == found


@pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.IN_PROGRESS])
@pytest.mark.parametrize("actor", Actor)
def test_work_that_has_begun_waits_for_nobody(status: Status, actor: Actor) -> None:
    """An application that is offline, or a copy half made, must not wait for days until somebody answers."""
    with pytest.raises(Refused, match="cannot be stopped for a question"):
        advance(status, None, Event.ASK, actor)
    onwards = {
        row.to.status for (state, _), row in TRANSITIONS.items() if state.status is Status.PENDING_INPUT
    }
    assert status not in onwards


def test_only_an_engineer_unlocks_a_stuck_site() -> None:
    assert possible(*STUCK, Actor.CONTACT) == frozenset()
    assert possible(*STUCK, Actor.FRESHET) == frozenset()
    assert possible(*STUCK, Actor.ENGINEER) == {Event.CLEAR, Event.CONFIRM}
    assert not deletable(*STUCK)


def test_refusals_say_who_may_instead() -> None:
    with pytest.raises(
        Refused, match="can be put on hold, but only engineer or freshet may do that, not contact"
    ):
        advance(Status.SCHEDULED, None, Event.DEFER, Actor.CONTACT)
    with pytest.raises(
        Refused, match="'In Progress' cannot be cancelled; that is possible from 'Scheduled' or"
    ):
        advance(Status.IN_PROGRESS, None, Event.CANCEL, Actor.ENGINEER)


def test_the_guides_picture_shows_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs/guide/requests.md").read_text(encoding="utf-8")
    picture = text.partition("stateDiagram-v2")[2].partition("```")[0]
    names = dict(re.findall(r"^ +(\w+): (.+)$", picture, re.MULTILINE))
    arrows = re.findall(r"^ +(\w+) --> (\w+):", picture, re.MULTILINE)
    shown = {(names.get(a, a), names.get(b, b)) for a, b in arrows}
    table = {(state.status.value, row.to.status.value) for (state, _), row in TRANSITIONS.items()}
    assert shown == table


class Life(RuleBasedStateMachine):
    """Any events in any order: the request is always in a known state, and an end is an end."""

    def __init__(self) -> None:
        super().__init__()
        self.state = BORN
        self.live = False
        self.cancelled_while_running = False

    @rule(event=st.sampled_from(list(Event)), actor=st.sampled_from(list(Actor)))
    def happen(self, event: Event, actor: Actor) -> None:
        before = self.state
        try:
            self.state = advance(*before, event, actor)
        except Refused:
            assert self.state == before
            return
        if event is Event.BEGIN:
            assert not self.live
            self.live = True
        elif self.live and self.state.status is not Status.IN_PROGRESS:
            assert event in {Event.COMPLETE, Event.PUT_BACK, Event.STICK, Event.RELEASE}
            self.live = False
        if before.ended and before != STUCK:
            assert event is Event.RETRY

    @invariant()
    def known(self) -> None:
        assert self.state in STATES
        assert not (self.live and waiting(self.state.status))


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
