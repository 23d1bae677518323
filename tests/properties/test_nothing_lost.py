"""Submit, cancel, supersede, hold, ask, pause, outage, clock jump in any order: nothing lost, nothing twice.

The decisions are the real ones of `policy`; the world around them only keeps books, and looks for itself at
every begin whether a limit, a window, a deadline or a pause is broken.
"""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from benchmarks._hosting import Hosting
from policy.durations import Phase
from policy.errors import Refused
from policy.lifecycle import STATES, SUPERSEDED, Actor, Event, possible
from policy.names import Environment, RequestId, SiteId, Version
from policy.pause import Pause
from policy.request import Kind, Outcome, Status
from tests.unit.rights_estate import estate

ESTATE = estate()
NOW = datetime(2027, 3, 12, 12, tzinfo=UTC)  # the clocks change in the night to Sunday
SITES = [
    SiteId(name, environment)
    for name in sorted(ESTATE.customers)
    for environment in (Environment.PRODUCTION, Environment.SANDBOX, Environment.STAGING)
]
INTERFERENCE = frozenset(
    {
        Event.CANCEL,
        Event.DEFER,
        Event.RESUME,
        Event.ASK,
        Event.ANSWER,
        Event.RETRY,
        Event.UNSCHEDULE,
    }
)
UPGRADED = [site for site in SITES if site.environment is not Environment.SANDBOX][::2]
REFRESHED = [site for site in SITES if site.environment is not Environment.PRODUCTION][:4]
VERSIONS = [Version("25.0.3"), Version("26.5.0"), Version("27.0.0")]


class Nights(RuleBasedStateMachine):
    """A hosting company that is asked for anything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths = random.Random(1)  # noqa: S311 - Hypothesis replays it
        failures = random.Random(2)  # noqa: S311 - Hypothesis replays it
        self.hosting = Hosting(ESTATE, NOW, self.really_takes, failures, failing=0.3)
        self.asked: dict[RequestId, int] = {}

    def really_takes(self, site: SiteId, kind: Kind, phase: Phase) -> timedelta:
        del site, kind, phase
        return timedelta(minutes=self.lengths.choice([2, 8, 15, 45, 120, 400]))

    @rule(
        site=st.sampled_from(UPGRADED),
        version=st.sampled_from(VERSIONS),
        hours=st.none() | st.integers(0, 200),
    )
    def upgrade(self, site: SiteId, version: Version, hours: int | None) -> None:
        wish = None if hours is None else self.hosting.now + timedelta(hours=hours)
        self.ask(site, Kind.UPGRADE, version, wish, None)

    @rule(
        site=st.sampled_from(REFRESHED),
        hours=st.none() | st.integers(0, 200),
        within=st.none() | st.integers(0, 12),
    )
    def refresh(self, site: SiteId, hours: int | None, within: int | None) -> None:
        wish = None if hours is None else self.hosting.now + timedelta(hours=hours)
        start_by = None if within is None else (wish or self.hosting.now) + timedelta(hours=within)
        self.ask(site, Kind.REFRESH, None, wish, start_by)

    def ask(
        self,
        site: SiteId,
        kind: Kind,
        version: Version | None,
        wish: datetime | None,
        start_by: datetime | None,
    ) -> None:
        with suppress(Refused):
            request = self.hosting.submit(site, kind, version=version, not_before=wish, start_by=start_by)
            assert request not in self.asked
            self.asked[request] = 0

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), by=st.sampled_from([Actor.CONTACT, Actor.ENGINEER]))
    def interfere(self, data: st.DataObject, by: Actor) -> None:
        """Something that the table allows this person now."""
        options = [
            (event, request)
            for request, book in self.hosting.books.items()
            for event in possible(*book.state, by) & INTERFERENCE
        ]
        if not options:
            return
        events = sorted({event for event, _ in options})
        chosen = data.draw(st.sampled_from(events))
        request = data.draw(st.sampled_from(sorted(r for event, r in options if event is chosen)))
        if chosen is Event.RETRY:
            self.hosting.retry(request)
        else:
            self.hosting.act(request, chosen, by)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), event=st.sampled_from(Event), by=st.sampled_from(Actor))
    def try_anything(self, data: st.DataObject, event: Event, by: Actor) -> None:
        """Something that the table does not allow changes nothing."""
        request = data.draw(st.sampled_from(sorted(self.asked)))
        book = self.hosting.books[request]
        if event not in possible(*book.state, by):
            before = (book.state, book.waiting)
            with pytest.raises(Refused):
                self.hosting.act(request, event, by)
            assert (book.state, book.waiting) == before

    @rule(
        scope=st.sampled_from(["all", "customer:lakeside", "server:trial", None]),
        hours=st.none() | st.integers(1, 40),
    )
    def pause(self, scope: str | None, hours: int | None) -> None:
        if scope is None:
            self.hosting.pause()
            return
        until = None if hours is None else self.hosting.now + timedelta(hours=hours)
        self.hosting.pause(
            Pause(scope=scope, reason="disk swap", by="dana", at=self.hosting.now, until=until)
        )

    @rule(minutes=st.sampled_from([0, 1, 5, 30, 61, 240, 600]))
    def tick(self, minutes: int) -> None:
        self.hosting.tick(self.hosting.now + timedelta(minutes=minutes))

    @rule(events=st.integers(1, 12))
    def run_on(self, events: int) -> None:
        for _ in range(events):
            moment = self.hosting.next_moment()
            self.hosting.tick(moment if moment is not None else self.hosting.now + timedelta(hours=6))

    @rule(hours=st.integers(1, 200))
    def outage(self, hours: int) -> None:
        """Nothing is decided for hours; people may go on asking afterwards."""
        self.hosting.now += timedelta(hours=hours)

    @rule(minutes=st.integers(1, 180))
    def clock_jumps_back(self, minutes: int) -> None:
        self.hosting.tick(self.hosting.now - timedelta(minutes=minutes))

    @invariant()
    def nothing_lost(self) -> None:
        hosting = self.hosting
        assert set(hosting.books) == set(self.asked)
        live = [work.request for work in hosting.works.values()]
        assert len(live) == len(set(live))
        for request, book in hosting.books.items():
            assert book.state in STATES
            assert book.state.ended or request in hosting.open_requests()
            under_way = book.state.status in {Status.IN_PROGRESS, Status.NOT_STARTED}
            assert under_way == (request in live)

    @invariant()
    def nothing_twice(self) -> None:
        assert self.hosting.twice() == 0
        for book in self.hosting.books.values():
            assert (book.completed == 1) == (book.state.outcome is Outcome.DONE)
            assert (book.superseded_by is not None) == (book.state == SUPERSEDED)
            if book.state.outcome is Outcome.CANCELLED:
                assert book.completed == 0

    @invariant()
    def nothing_broken(self) -> None:
        assert not self.hosting.witness.broken, dict(self.hosting.witness.broken)

    def teardown(self) -> None:
        """Left alone, the queue comes to rest: whatever has a turn gets it."""
        hosting = self.hosting
        hosting.pause()
        # Calendars begin where the night began: a clock that went back before that has to come round first.
        hosting.tick(hosting.now + timedelta(days=4))
        for _ in range(600):
            moment = hosting.next_moment()
            if moment is None:
                break
            hosting.tick(max(moment, hosting.now + timedelta(minutes=1)))
        assert not hosting.works
        assert hosting.unaccounted() == []
        for book in hosting.books.values():
            held = book.state.status in {Status.DEFERRED, Status.PENDING_INPUT}
            too_long = book.waiting.expected + book.waiting.put_back > timedelta(hours=5)
            assert book.state.ended or held or too_long, book
        super().teardown()


@pytest.mark.parametrize("examples", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_nothing_is_lost_and_nothing_happens_twice(examples: int) -> None:
    run_state_machine_as_test(
        Nights,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
