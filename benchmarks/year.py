"""A year of 1,000 customers in some minutes: windows, both changes of the clocks, releases every two weeks.

A virtual clock, the real decisions of `policy`, and a world that keeps books (`benchmarks._hosting`): every
two weeks a release goes to every customer's Production and, where there is one, Staging; contacts ask for
refreshes, mostly at a night of their choice; 3 in 100 runs fail and are put back, and most of those get a
new date. Freshet is down twice, once through a Saturday night; once everything is paused; the year's end is
frozen.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from benchmarks._hosting import Hosting
from benchmarks._year_estate import estate
from policy.durations import PRIORS, Phase, quantile
from policy.errors import Refused
from policy.lifecycle import Actor, Event
from policy.names import (
    Environment,
    RequestId,
    SiteId,
    Version,
)
from policy.pause import Pause
from policy.request import Kind, Outcome
from policy.submission import START_WITHIN

BEGIN = datetime(2027, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
OUTAGES = (
    # The night from Saturday to Sunday in America, with most windows in it; and two working days.
    (datetime(2027, 2, 14, 2, tzinfo=UTC), datetime(2027, 2, 14, 16, tzinfo=UTC)),
    (datetime(2027, 9, 7, 6, tzinfo=UTC), datetime(2027, 9, 8, 18, tzinfo=UTC)),
)
PAUSED = (datetime(2027, 6, 12, 20, tzinfo=UTC), datetime(2027, 6, 13, 14, tzinfo=UTC))
EVERY_MINUTES = 5


class Truth:
    """How long work really takes: each site has its own pace, and every run its own luck."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._pace: dict[SiteId, float] = {}
        self._size: dict[SiteId, int] = {}

    def __call__(self, site: SiteId, kind: Kind, phase: Phase) -> timedelta:
        """One duration, drawn anew."""
        luck = math.exp(self._draw.gauss(0, 0.15))
        return PRIORS[kind, phase].at(self.size(site)) * self._pace[site] * luck

    def size(self, site: SiteId) -> int:
        """Bytes of the site's databases; the median is 8 GB."""
        if site not in self._pace:
            self._pace[site] = math.exp(self._draw.gauss(0, 0.3))
            self._size[site] = int(math.exp(self._draw.gauss(math.log(8e9), 1.0)))
        return self._size[site]


class Year:
    """What people ask for, day by day, and the clock that drives it."""

    def __init__(self, customers: int, days: int) -> None:
        self.draw = random.Random(2027)  # noqa: S311 - a repeatable year, no secret
        self.estate = estate(customers, self.draw)
        self.end = BEGIN + days * DAY
        truth = Truth(self.draw)
        failures = random.Random(3)  # noqa: S311 - the same
        self.hosting = Hosting(self.estate, BEGIN, truth, failures, size=truth.size, away=(*OUTAGES, PAUSED))
        self.refused = 0
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, when: datetime, do: Callable[[], None]) -> None:
        """Let somebody do something at an instant."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, do))

    def prepare(self) -> None:
        """Write the year's calendar: releases, and every customer's refreshes."""
        for index in range(27):
            day = BEGIN + timedelta(days=4 + 14 * index, hours=15)
            self.at(day, partial(self.release, Version(f"26.{index + 1}")))
        for customer in self.estate.customers.values():
            targets = [s.id for e, s in customer.sites.items() if e is not Environment.PRODUCTION]
            when = BEGIN + timedelta(hours=self.draw.uniform(0, 24 * 30))
            while when < self.end:
                site = self.draw.choice(targets)
                self.at(when, partial(self.ask, site, customer.zone))
                when += timedelta(hours=self.draw.expovariate(1 / (24 * 30)))
        begins, ends = PAUSED
        pause = Pause(scope="all", reason="storage is being replaced", by="on call", at=begins)
        self.at(begins, lambda: self.hosting.pause(pause))
        self.at(ends, self.hosting.pause)

    def release(self, version: Version) -> None:
        """A release for everybody: Production, and Staging where there is one."""
        for customer in self.estate.customers.values():
            for environment in (Environment.PRODUCTION, Environment.STAGING):
                if environment in customer.sites:
                    with suppress(Refused):
                        self.hosting.submit(SiteId(customer.name, environment), Kind.UPGRADE, version=version)

    def ask(self, site: SiteId, zone: ZoneInfo) -> None:
        """A contact asks for a refresh: mostly for the coming nights, else as soon as it fits."""
        now = self.hosting.now
        wish = None
        if self.draw.random() < 0.7:
            local = (now.astimezone(zone) + self.draw.randint(1, 6) * DAY).date()
            hour = time(self.draw.choice([0, 1, 3, 4, 5, 20, 22]), self.draw.choice([0, 30]))
            wish = datetime.combine(local, hour, tzinfo=zone).astimezone(UTC)
        try:
            request = self.hosting.submit(
                site, Kind.REFRESH, not_before=wish, start_by=wish and wish + START_WITHIN
            )
        except Refused:
            self.refused += 1
            return
        if self.draw.random() < 0.04:
            self.at(now + timedelta(hours=self.draw.uniform(0, 40)), lambda: self.cancel(request))

    def cancel(self, request: RequestId) -> None:
        """A contact thinks better of it, perhaps too late."""
        with suppress(Refused):
            self.hosting.act(request, Event.CANCEL, Actor.CONTACT)

    def run(self) -> None:
        """Let the year pass."""
        now = told = BEGIN
        while now < self.end or self._unsettled():
            if now.month != told.month:
                told = now
                print(f"{now:%B %Y}: {len(self.hosting.books)} requests so far", file=sys.stderr, flush=True)
            moment = self.hosting.next_moment()
            step = now + timedelta(minutes=EVERY_MINUTES)
            nexts = [at for at in (moment, self._events[0][0] if self._events else None) if at]
            now = max(step, min(nexts)) if nexts else step
            now = next((ends for begins, ends in OUTAGES if begins <= now < ends), now)
            while self._events and self._events[0][0] <= now:
                at, _, do = heapq.heappop(self._events)
                self.hosting.now = at
                do()
            put_back = self._tick(now)
            for request in put_back:
                if self.draw.random() < 0.9:
                    self.at(now + timedelta(hours=self.draw.uniform(4, 48)), partial(self.again, request))

    def again(self, request: RequestId) -> None:
        """The contact takes the new date that was offered, unless a newer request has come."""
        book = self.hosting.books[request]
        newer = any(
            other != request and self.hosting.books[other].waiting.site == book.waiting.site
            for other in self.hosting.open_requests()
        )
        if not newer:
            self.hosting.retry(request)

    def _tick(self, now: datetime) -> list[RequestId]:
        before = {work.request for work in self.hosting.works.values()}
        self.hosting.tick(now)
        after = {work.request for work in self.hosting.works.values()}
        return [
            request
            for request in before - after
            if self.hosting.books[request].state.outcome is Outcome.PUT_BACK
        ]

    def _unsettled(self) -> bool:
        return bool(self.hosting.works) and self.hosting.now < self.end + 3 * DAY


def figures(customers: int = 1000, days: int = 365) -> dict[str, object]:
    """What `make bench BENCH=year` reports."""
    year = Year(customers, days)
    year.prepare()
    year.run()
    hosting = year.hosting
    minutes = sorted(error / timedelta(minutes=1) for error in hosting.eta_errors)
    waited = [wait / timedelta(hours=1) for wait in hosting.waited]
    ended = [book.state for book in hosting.books.values() if book.state.ended]
    return {
        "customers": customers,
        "days": days,
        "requests": len(hosting.books),
        "completed": sum(state.outcome is Outcome.DONE for state in ended),
        "put_back": sum(state.outcome is Outcome.PUT_BACK for state in ended),
        "superseded": sum(state.outcome is Outcome.SUPERSEDED for state in ended),
        "cancelled": sum(state.outcome is Outcome.CANCELLED for state in ended),
        "expired": sum(state.outcome is Outcome.EXPIRED for state in ended),
        "waiting_at_the_end": len(hosting.open_requests()),
        "lost": len(hosting.unaccounted()),
        "twice": hosting.twice(),
        "rules_broken": sum(hosting.witness.broken.values()),
        "rules": dict(sorted(hosting.witness.broken.items())),
        "missed_fitting_windows": len(hosting.witness.missed),
        "eta_error_p50_min": round(quantile(minutes, 0.5), 1),
        "eta_error_p90_min": round(quantile(minutes, 0.9), 1),
        "eta_within_range_share": round(hosting.eta_held / len(minutes), 3),
        "waited_p50_h": round(quantile(waited, 0.5), 1),
        "waited_p90_h": round(quantile(waited, 0.9), 1),
        "mails": sum(hosting.mails.values()),
        "mails_by_notice": dict(sorted(hosting.mails.items())),
        "refused_as_double": year.refused,
    }
