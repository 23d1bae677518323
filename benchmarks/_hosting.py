"""A hosting company under a virtual clock: the real decisions of `policy`, and a world that only keeps books.

Invariant: what this model decides, it decides through `policy` alone (lifecycle, planner, durations); what it
did is checked by a witness that does not ask the planner. Nothing here sleeps or reads a clock.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from benchmarks._book import Book, Work
from benchmarks._experience import Experience
from benchmarks._witness import Witness
from policy.durations import Phase
from policy.errors import Refused
from policy.estate import Estate
from policy.lifecycle import SCHEDULED, TO_BE_SCHEDULED, Actor, Event, advance
from policy.names import RequestId, RunId, SiteId, Version
from policy.openings import instant
from policy.pause import Pause, applying, scopes_of
from policy.plan import Placement, Why
from policy.planner import Planner
from policy.releases import rank
from policy.request import Kind, Outcome
from policy.waiting import Calendars, Hold, Queue, Running, Waiting, capacities_of, uses_of

Truth = Callable[[SiteId, Kind, Phase], timedelta]
"""How long a piece of work really takes, drawn anew each time."""
SOON = timedelta(minutes=30)
_GIVES_UP_ITS_DATE = frozenset(
    {Event.DEFER, Event.ASK, Event.UNSCHEDULE, Event.CANCEL, Event.SUPERSEDE, Event.EXPIRE}
)


class Hosting:
    """Requests go in, time goes on, and every rule that is broken is counted."""

    def __init__(
        self,
        estate: Estate,
        now: datetime,
        truth: Truth,
        failures: random.Random,
        *,
        failing: float = 0.03,
        size: Callable[[SiteId], int] = lambda _: 0,
        away: tuple[tuple[datetime, datetime], ...] = (),
    ) -> None:
        """Begin with nothing asked for.

        Args:
            estate: what is hosted.
            now: the first instant.
            truth: how long work really takes.
            failures: decides which runs fail.
            failing: the share of runs that do.
            size: bytes of a site's databases, which is known before.
            away: when nothing is decided; a window in such a time is not counted as missed.
        """
        self.estate = estate
        self.now = now
        self.books: dict[RequestId, Book] = {}
        self.works: dict[RunId, Work] = {}
        self.pauses: tuple[Pause, ...] = ()
        self.witness = Witness(estate, away)
        self.mails: Counter[str] = Counter()
        self.waited: list[timedelta] = []
        self.eta_errors: list[timedelta] = []
        self.eta_held = 0
        self._experience = Experience(size)
        self._truth, self._failures, self._failing = truth, failures, failing
        self._calendars = Calendars(estate, now)
        self._capacities = capacities_of(estate)
        self._planner = Planner(Queue(now=now, waiting=(), capacities=self._capacities))
        self._numbers = 0
        self._open: dict[RequestId, Book] = {}

    # What people do.

    def submit(
        self,
        site: SiteId,
        kind: Kind,
        *,
        version: Version | None = None,
        not_before: datetime | None = None,
        start_by: datetime | None = None,
    ) -> RequestId:
        """Ask for work; a newer version takes a waiting older request over.

        Raises:
            Refused: the same is waiting already.
        """
        same = [
            book
            for book in self._open.values()
            if book.waiting.site == site and book.waiting.kind is kind and not self._is_live(book)
        ]
        for book in same:
            if version is None or book.version is None or rank(version) <= rank(book.version):
                raise Refused(f"site: {book.waiting.id} asks for the same already")
        self._numbers += 1
        request = RequestId.of(self._numbers)
        took = self._experience.expects(kind, site)
        waiting = Waiting(
            id=request,
            kind=kind,
            site=site,
            asked_at=self.now,
            uses=uses_of(self.estate, kind, site),
            likely=took.likely,
            expected=took.expected,
            put_back=took.put_back,
            calendar=self._calendars.of(site, kind),
            zone=self.estate.customers[site.customer].zone,
            not_before=not_before,
            start_by=start_by,
            scopes=scopes_of(self.estate, site),
        )
        self.books[request] = self._open[request] = Book(waiting=waiting, version=version)
        self._mail("accepted")
        for book in same:
            self._event(book, Event.SUPERSEDE, Actor.FRESHET)
            book.superseded_by = request
        return request

    def act(self, request: RequestId, event: Event, by: Actor) -> None:
        """Cancel, defer, resume, ask or answer.

        Raises:
            Refused: the lifecycle does not allow it.
        """
        self._event(self.books[request], event, by)

    def pause(self, *pauses: Pause) -> None:
        """Set what is paused."""
        self.pauses = pauses

    # What Freshet does.

    def tick(self, now: datetime) -> None:
        """Bring everything up to `now`: ends first, then the plan, then what is due."""
        self.now = now
        for run, work in list(self.works.items()):
            if work.ends <= now:
                self._end(run, work)
        queue = self._queue()
        self._planner.update(queue)
        due = []
        for waiting in queue.waiting:
            book = self.books[waiting.id]
            start = self._planner.start(waiting.id)
            dated = start is not None and book.waiting.confirmed == instant(start) > now
            if book.state not in {TO_BE_SCHEDULED, SCHEDULED} or (dated and book.state == SCHEDULED):
                continue
            answer = self._planner.answer(waiting.id)
            if isinstance(answer, Placement):
                self._announce(book, answer)
                if answer.start <= now:
                    due.append(answer)
            elif answer.reason.why is Why.EXPIRED:
                self._event(book, Event.EXPIRE, Actor.FRESHET)
        for place in sorted(due, key=lambda place: (place.start, place.request.number)):
            self._begin(self.books[place.request], place)

    def next_moment(self) -> datetime | None:
        """When something happens by itself: a run ends, or an announced date comes."""
        moments = [work.ends for work in self.works.values()]
        moments += [
            book.waiting.confirmed
            for book in self._open.values()
            if book.state == SCHEDULED and book.waiting.confirmed and book.waiting.confirmed > self.now
        ]
        return min(moments, default=None)

    def open_requests(self) -> frozenset[RequestId]:
        """The requests that have not ended."""
        return frozenset(self._open)

    def unaccounted(self) -> list[RequestId]:
        """Requests that are neither ended nor waiting nor under way: lost ones."""
        live = {work.request for work in self.works.values()}
        answered = {waiting.id for waiting in self._planner.queue.waiting}
        return [
            request
            for request, book in self.books.items()
            if not book.state.ended and request not in live and request not in answered
        ]

    def twice(self) -> int:
        """Requests that were completed more than once, or had two runs at a time."""
        return (
            sum(book.completed > 1 for book in self.books.values())
            + self.witness.broken["two runs of one request"]
        )

    def _queue(self) -> Queue:
        live = {work.request for work in self.works.values()}
        waiting = tuple(book.waiting for request, book in self._open.items() if request not in live)
        running = tuple(work.running for work in self.works.values())
        return Queue(
            now=self.now,
            waiting=waiting,
            running=running,
            capacities=self._capacities,
            pauses=tuple(pause for pause in self.pauses if pause.holds(self.now)),
        )

    def _is_live(self, book: Book) -> bool:
        return any(work.request == book.waiting.id for work in self.works.values())

    def _announce(self, book: Book, place: Placement) -> None:
        book.started_by = place.start_by
        self.witness.hold(book.waiting, place.start, place.start + book.waiting.expected)
        if book.state == TO_BE_SCHEDULED:
            self._event(book, Event.SCHEDULE, Actor.FRESHET)
            self._mail("scheduled")
        elif place.kept or place.start - max(book.waiting.confirmed or self.now, self.now) < SOON:
            # Nobody is written to for minutes.
            return
        else:
            self._event(book, Event.MOVE, Actor.FRESHET)
            self._mail("moved")
            self.witness.look_back(book.waiting, self.now, place.start)
        if book.first_eta is None:
            book.first_eta = (place.eta_low, place.eta_high)
            self.witness.look_ahead(book.waiting, self.now, place.start)
        book.waiting = replace(book.waiting, confirmed=place.start)

    def _begin(self, book: Book, place: Placement) -> None:
        self._event(book, Event.PULL, Actor.FRESHET)
        self._event(book, Event.BEGIN, Actor.FRESHET)
        waiting = book.waiting
        paused = applying(self.pauses, waiting.scopes, self.now) is not None
        self.witness.look_at(waiting, self.now, place.start_by, paused=paused)
        book.attempts += 1
        book.begun.append(self.now)
        self.waited.append(self.now - max(waiting.asked_at, waiting.not_before or waiting.asked_at))
        fails = self._failures.random() < self._failing
        took = self._truth(waiting.site, waiting.kind, Phase.WORK)
        back = self._truth(waiting.site, waiting.kind, Phase.PUT_BACK) if fails else timedelta(0)
        run = RunId.of(waiting.id, book.attempts)
        running = Running(
            run=run, uses=waiting.uses, until=self.now + waiting.expected, put_back=waiting.put_back
        )
        work = Work(running=running, request=waiting.id, began=self.now, took=took, back=back)
        self.works[run] = work
        self.witness.begun(waiting, self.now, max(work.ends, running.until))
        self._mail("started")
        if waiting.kind is Kind.UPGRADE:
            self._mail("log out")

    def _end(self, run: RunId, work: Work) -> None:
        del self.works[run]
        book = self.books[work.request]
        asked = book.waiting.kind, book.waiting.site
        self.witness.ended(book.waiting, work.began, work.ends, self.now)
        if work.back:
            self._experience.saw(*asked, Phase.PUT_BACK, work.back, self.now)
            self._event(book, Event.PUT_BACK, Actor.FRESHET)
            self._mail("put back")
            return
        self._experience.saw(*asked, Phase.WORK, work.took, self.now)
        self._event(book, Event.COMPLETE, Actor.FRESHET)
        book.completed += 1
        self._mail("completed")
        if book.first_eta is not None and book.attempts == 1:
            low, high = book.first_eta
            self.eta_errors.append(abs(work.ends - low))
            self.eta_held += work.ends <= high

    def retry(self, request: RequestId) -> None:
        """The customer takes the new date that is offered after a put-back."""
        book = self.books[request]
        self._event(book, Event.RETRY, Actor.CONTACT)
        book.waiting = replace(book.waiting, confirmed=None, asked_at=self.now)
        self._open[request] = book

    def _event(self, book: Book, event: Event, by: Actor) -> None:
        book.state = advance(*book.state, event, by)
        hold = {"Deferred": Hold.DEFERRED, "Pending Input": Hold.ANSWER}.get(book.state.status)
        if book.waiting.hold is not hold:
            book.waiting = replace(book.waiting, hold=hold)
        if event in {Event.DEFER, Event.ASK, Event.UNSCHEDULE}:
            book.waiting = replace(book.waiting, confirmed=None)
        if event in _GIVES_UP_ITS_DATE:
            self.witness.drop(book.waiting)
        if book.state.ended:
            self._open.pop(book.waiting.id, None)
            if book.state.outcome in {Outcome.CANCELLED, Outcome.SUPERSEDED, Outcome.EXPIRED}:
                self._mail(book.state.outcome.value)

    def _mail(self, notice: str) -> None:
        self.mails[notice] += 1
