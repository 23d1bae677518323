"""A group's upgrade: canaries first, soak, parallelism, breaker; one failure does not stop the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from policy.campaign import Breaker, Campaign, Progress, Stage, rings
from policy.errors import Refused
from policy.names import CustomerName, GroupName, RequestId, Version
from policy.request import Outcome

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
SOAK = timedelta(hours=24)
NAMES = [CustomerName(f"c{number:02}") for number in range(12)]


def campaign(canaries: int = 1, parallel: int = 3, breaker: Breaker | None = None) -> Campaign:
    return Campaign(
        name="northern 26.5.0",
        group=GroupName("northern"),
        version=Version("26.5.0"),
        members=rings(NAMES, NAMES[:canaries], sizes=(4,)),
        soak=SOAK,
        parallel=parallel,
        breaker=breaker or Breaker(),
    )


def take(state: Campaign, now: datetime, outcome: Outcome = Outcome.DONE) -> Campaign:
    """Carry out whoever is next."""
    for customer in state.next(now):
        number = RequestId.of(100 + NAMES.index(customer))
        state = state.asked(customer, number, now).ended(number, outcome, now)
    return state


def test_canaries_then_a_ring_then_everybody_each_after_its_soak() -> None:
    state = campaign()
    assert state.next(NOW) == (NAMES[0],)
    state = take(state, NOW)
    assert state.stage(NOW) is Stage.SOAKING
    assert state.next(NOW + SOAK - timedelta(seconds=1)) == ()
    monday = NOW + SOAK
    assert state.next(monday) == tuple(NAMES[1:4])
    state = take(take(state, monday), monday)
    assert state.counts() == {Progress.WAITING: 7, Progress.DONE: 5}
    assert state.stage(monday) is Stage.SOAKING
    tuesday = monday + SOAK
    for _ in range(3):
        state = take(state, tuesday)
    assert state.stage(tuesday) is Stage.DONE
    assert state.sentence(tuesday) == "northern 26.5.0 is done: 12 done"


def test_parallelism_bounds_who_is_under_way() -> None:
    state = take(campaign(parallel=2), NOW)
    later = NOW + SOAK
    for index, customer in enumerate(state.next(later)):
        state = state.asked(customer, RequestId.of(50 + index), later)
    assert state.next(later) == ()
    with pytest.raises(Refused, match="it is not the turn of c05"):
        state.asked(NAMES[5], RequestId("R99"), later)
    state = state.ended(RequestId("R50"), Outcome.DONE, later)
    assert state.next(later) == (NAMES[3],)


def test_a_failed_canary_stops_all_until_somebody_resumes() -> None:
    state = take(campaign(), NOW, Outcome.PUT_BACK)
    assert state.stage(NOW + 9 * SOAK) is Stage.STOPPED
    assert state.next(NOW + 9 * SOAK) == ()
    assert "1 of the first ring failed (c00)" in state.sentence(NOW)
    with pytest.raises(Refused, match="say why"):
        state.resume("")
    state = state.resume("c00 ran an extension that nobody else has")
    assert state.stage(NOW + SOAK) is Stage.RUNNING


def test_one_failure_does_not_stop_the_others_but_the_third_does() -> None:
    state = take(campaign(parallel=1), NOW)
    later = NOW + SOAK
    outcomes = [Outcome.DONE, Outcome.PUT_BACK, Outcome.DONE, Outcome.DONE]
    for outcome in outcomes:
        state = take(state, later, outcome)
    assert state.tripped is None
    latest = later + SOAK
    state = take(state, latest, Outcome.PUT_BACK)
    assert "2 of 6 customers failed (c02, c05)" in str(state.tripped)
    state = campaign(breaker=Breaker(share=1.0))
    state = take(state, NOW)
    state = take(state, later, Outcome.PUT_BACK)
    assert state.tripped == "3 customers failed (c01, c02, c03)"


def test_forgiven_failures_do_not_count_again() -> None:
    state = take(campaign(breaker=Breaker(share=1.0)), NOW)
    state = take(state, NOW + SOAK, Outcome.PUT_BACK).resume("disk of one host was full")
    assert state.tripped is None
    state = take(state, NOW + SOAK, Outcome.PUT_BACK)
    assert state.tripped is None, "c04 alone is one failure since"


def test_customers_are_left_out_with_a_reason_and_taken_again() -> None:
    state = campaign()
    with pytest.raises(Refused, match="say why c00"):
        state.exclude(NAMES[0], " ")
    with pytest.raises(Refused, match="c99 is not part of"):
        state.exclude(CustomerName("c99"), "unknown")
    state = state.exclude(NAMES[0], "exams this week")
    assert state.next(NOW) == tuple(NAMES[1:4]), "without a canary there is nothing to soak"
    state = state.include(NAMES[0])
    assert state.next(NOW) == (NAMES[0],)
    state = take(state, NOW)
    with pytest.raises(Refused, match="c00 is done and cannot be left out"):
        state.exclude(NAMES[0], "too late")
    with pytest.raises(Refused, match="cannot be taken again"):
        state.include(NAMES[0])


def test_excluding_somebody_of_the_next_ring_does_not_end_the_soak() -> None:
    state = take(campaign(), NOW).exclude(NAMES[1], "exams this week")
    assert state.stage(NOW) is Stage.SOAKING
    assert state.next(NOW) == ()


def test_a_stuck_site_counts_and_is_cleared_by_a_person() -> None:
    state = campaign(canaries=0)
    first = state.next(NOW)[0]
    state = state.asked(first, RequestId("R1"), NOW).ended(RequestId("R1"), Outcome.STUCK, NOW, "disk full")
    assert state.member(first).progress is Progress.STUCK
    with pytest.raises(Refused, match="is stuck"):
        state.exclude(first, "give up")
    state = state.cleared(RequestId("R1"), Outcome.DONE)
    assert state.member(first).progress is Progress.DONE
    assert not state.member(first).failed


def test_a_group_without_canaries_is_not_stopped_by_one_failure() -> None:
    state = take(campaign(canaries=0, parallel=1), NOW, Outcome.PUT_BACK)
    assert state.tripped is None
    assert len(state.next(NOW)) == 1


def test_pause_holds_everybody_and_missed_dates_are_taken_again() -> None:
    state = campaign(canaries=0).pause("storage is being replaced")
    assert state.next(NOW) == ()
    assert "paused (storage is being replaced)" in state.sentence(NOW)
    with pytest.raises(Refused, match="say why"):
        state.pause("")
    state = take(state.resume("done"), NOW, Outcome.EXPIRED)
    assert state.counts()[Progress.MISSED] == 3
    assert state.tripped is None
    again = state.include(NAMES[0])
    assert NAMES[0] in again.next(NOW)


def test_canaries_must_belong_to_the_group() -> None:
    with pytest.raises(Refused, match="canaries: c99 do not belong"):
        rings(NAMES, [CustomerName("c99")])


class Course(RuleBasedStateMachine):
    """Any order of events: nobody twice at once, no ring before its time, nothing begun while stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.state = campaign(parallel=2)
        self.now = NOW
        self.number = 0
        self.under_way: dict[RequestId, CustomerName] = {}

    @rule(minutes=st.integers(0, 3000))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @precondition(lambda self: self.state.next(self.now))
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        customer = data.draw(st.sampled_from(self.state.next(self.now)))
        assert self.state.tripped is None
        assert customer not in self.under_way.values()
        ring = self.state.member(customer).ring
        for other in self.state.members:
            if other.ring < ring:
                assert other.progress not in {Progress.WAITING, Progress.UNDER_WAY}
        self.number += 1
        request = RequestId.of(self.number)
        self.state = self.state.asked(customer, request, self.now)
        self.under_way[request] = customer

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def end(self, data: st.DataObject, outcome: Outcome) -> None:
        request = data.draw(st.sampled_from(sorted(self.under_way)))
        del self.under_way[request]
        self.state = self.state.ended(request, outcome, self.now)
        # Told twice, it changes nothing.
        assert self.state.ended(request, Outcome.DONE, self.now) == self.state

    @rule(data=st.data(), verb=st.sampled_from(["exclude", "include", "resume", "pause"]))
    def intervene(self, data: st.DataObject, verb: str) -> None:
        customer = data.draw(st.sampled_from(NAMES))
        try:
            if verb == "exclude":
                self.state = self.state.exclude(customer, "asked to")
            elif verb == "include":
                self.state = self.state.include(customer)
            elif verb == "pause":
                self.state = self.state.pause("looking at it")
            else:
                self.state = self.state.resume("looked at it")
        except Refused:
            return

    @invariant()
    def nobody_is_lost(self) -> None:
        assert [m.customer for m in self.state.members] == NAMES
        under_way = {m.customer for m in self.state.members if m.progress is Progress.UNDER_WAY}
        assert under_way == set(self.under_way.values())
        assert len(under_way) <= 2
        if self.state.stage(self.now) is not Stage.RUNNING:
            assert self.state.next(self.now) == ()


TestCourse = Course.TestCase
TestCourse.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
