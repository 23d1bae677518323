"""What the planner is told: who waits, what runs, and how much of everything there is.

Invariant: equal queues give equal plans; nothing here or in the planner reads a clock, a random number or the
order of a set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from policy.estate import Estate, Site
from policy.local_time import resolve
from policy.machines import DatabaseServer
from policy.names import RequestId, RunId, SiteId
from policy.pause import Pause
from policy.request import Kind
from policy.windows import Calendar, Override, freezes_of

EVERYTHING = "all"
"""The limit on runs in the whole estate."""
HOST_SLOTS = 2
"""How many runs may work on the web applications of one host at once."""
_DAY = timedelta(days=1)


class Use(NamedTuple):
    """A share of something limited: `webapp:lakeside/live`, `database:trial/lakeside`, `server:trial`."""

    resource: str
    amount: int = 1


class Slot(NamedTuple):
    """A stretch of time within which work may begin."""

    opens: datetime
    closes: datetime


class Hold(StrEnum):
    """Why a request has no turn at all for now."""

    DEFERRED = "deferred"
    ANSWER = "answer"
    LOCKED = "locked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A request that waits for its turn.

    Attributes:
        uses: everything limited that its run takes, in the order in which a shortage is reported.
        likely: the median duration; `expected` the 90th percentile, with which the plan is made.
        put_back: what has to be left for taking it back.
        calendar: when it may work at all.
        not_before: the time asked for.
        start_by: the time asked for is missed after this.
        zone: the customer's, in which the same time of the next day is meant.
        confirmed: the date that was announced; it is kept as long as it can be.
        hold: it takes no part in the plan.
        scopes: the pauses that hold it back.
    """

    id: RequestId
    kind: Kind
    site: SiteId
    asked_at: datetime
    uses: tuple[Use, ...]
    likely: timedelta
    expected: timedelta
    put_back: timedelta
    calendar: Calendar
    zone: ZoneInfo
    not_before: datetime | None = None
    start_by: datetime | None = None
    confirmed: datetime | None = None
    hold: Hold | None = None
    scopes: frozenset[str] = frozenset()

    def slot(self, number: int) -> Slot | None:
        """Where work without a window may begin: the time asked for, then the same time of each later day."""
        if self.not_before is None or self.start_by is None:
            return None
        length = self.start_by - self.not_before
        if number == 0:
            return Slot(self.not_before, self.start_by)
        if length > _DAY:
            return None
        local = self.not_before.astimezone(self.zone).replace(tzinfo=None, fold=0)
        opens = resolve(local + number * _DAY, self.zone)
        return Slot(opens, opens + length)


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A run under way, and until when it is expected to hold what it uses."""

    run: RunId
    uses: tuple[Use, ...]
    until: datetime
    put_back: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Everything that a plan is made from.

    Attributes:
        capacities: how much there is of each resource; what is not named is there once.
    """

    now: datetime
    waiting: tuple[Waiting, ...]
    running: tuple[Running, ...] = ()
    capacities: Mapping[str, int] = field(default_factory=dict)
    pauses: tuple[Pause, ...] = ()


class Calendars:
    """The calendars of an estate, shared between the requests that have the same windows and freezes."""

    def __init__(self, estate: Estate, since: datetime) -> None:
        """Begin at `since`; spans that ended before are not wanted."""
        self._estate = estate
        self._since = since
        self._known: dict[object, Calendar] = {}

    def of(self, site: SiteId, kind: Kind, override: Override | None = None) -> Calendar:
        """When `kind` of work on `site` may happen.

        Only work that takes a site off line for long needs a window: a refresh leaves its target serving
        until the swap, and may happen whenever no freeze holds.
        """
        windows = None
        if kind in {Kind.UPGRADE, Kind.ENGINE} and not (override and override.windows):
            windows = self._estate.windows(site.customer)
        freezes = () if override and override.freezes else freezes_of(self._estate, site.customer)
        key = (windows, freezes)
        if key not in self._known:
            self._known[key] = Calendar(windows=windows, freezes=freezes, since=self._since)
        return self._known[key]


def uses_of(estate: Estate, kind: Kind, site: SiteId) -> tuple[Use, ...]:
    """Everything limited that `kind` of work on `site` takes.

    A refresh also holds Production's database: one copy at a time is read from it, and none while it is
    being upgraded.
    """
    webapp = estate.webapp(site)
    if kind in {Kind.UPGRADE, Kind.ENGINE}:
        sites: tuple[Site, ...] = estate.served_by(webapp)
    elif kind is Kind.REFRESH:
        sites = (estate.site(site), estate.source(site.customer).site)
    else:
        sites = (estate.site(site),)
    uses = [Use(f"webapp:{webapp.key}")]
    uses.extend(Use(f"database:{s.server}/{s.database}") for s in sites)
    for server in dict.fromkeys(s.server for s in sites):
        whole = kind is Kind.ENGINE
        uses.append(Use(f"server:{server}", estate.servers[server].slots if whole else 1))
    if kind in {Kind.UPGRADE, Kind.ENGINE}:
        uses.extend(Use(f"host:{host}") for host in webapp.hosts)
    uses.append(Use(EVERYTHING))
    return tuple(dict.fromkeys(uses))


def capacities_of(estate: Estate, *, host_slots: int = HOST_SLOTS) -> dict[str, int]:
    """How much there is of everything limited in `estate`; web applications and databases are there once."""
    servers: Mapping[str, DatabaseServer] = {str(name): server for name, server in estate.servers.items()}
    return {
        EVERYTHING: estate.concurrent_runs,
        **{f"server:{name}": server.slots for name, server in servers.items()},
        **{f"host:{name}": host_slots for name in estate.hosts},
    }
