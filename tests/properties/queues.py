"""Queues for the planner's tests: few customers, scarce servers, short windows: everything collides."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from policy.maintenance_window import Freeze, Weekday, Window
from policy.names import RequestId, RunId, SiteId
from policy.pause import Pause
from policy.request import Kind
from policy.waiting import EVERYTHING, Hold, Queue, Running, Use, Waiting
from policy.windows import Calendar

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
GRID = timedelta(minutes=15)
CHICAGO = ZoneInfo("America/Chicago")
SITES = [
    SiteId.parse(f"{customer}/{environment}")
    for customer in ("lakeside", "hillcrest", "riverton")
    for environment in ("production", "sandbox", "staging")
]


def window(name: str, day: Weekday, hour: int, hours: float) -> Window:
    return Window(
        name=name,
        zone=CHICAGO,
        days=frozenset({day}),
        start=time(hour),
        length=timedelta(hours=hours),
        valid_from=date(2026, 1, 1),
    )


FREEZES = (
    Freeze(
        name="thanksgiving",
        zone=CHICAGO,
        first=date(2026, 11, 26),
        last=date(2026, 11, 27),
        reason="offices are closed",
        yearly=True,
    ),
)
CALENDARS = (
    Calendar(windows=[window("sunday", Weekday.SUN, 4, 5)], freezes=FREEZES, since=NOW),
    Calendar(
        windows=[window("thursday", Weekday.THU, 0, 3), window("monday", Weekday.MON, 22, 4)],
        freezes=FREEZES,
        since=NOW,
    ),
    Calendar(windows=None, freezes=FREEZES, since=NOW),
    Calendar(windows=None, freezes=(), since=NOW),
)
NO_WINDOW = Calendar(windows=(), freezes=(), since=NOW)
CAPACITIES = {
    EVERYTHING: 3,
    "server:live": 2,
    "server:trial": 1,
    "host:web1": 1,
    "host:web2": 2,
}

steps = st.integers(1, 16).map(lambda n: n * GRID)
moments = st.integers(0, 9 * 96).map(lambda n: NOW + n * GRID)


@st.composite
def wants(draw: st.DrawFn, number: int, *, holds: bool = True) -> Waiting:
    site = draw(st.sampled_from(SITES))
    upgrade = draw(st.booleans())
    server = "server:live" if site.environment.value == "production" else "server:trial"
    shared = "live" if site.environment.value in {"production", "sandbox"} else "staging"
    uses = [Use(f"webapp:{site.customer}/{shared}"), Use(f"database:{site}"), Use(server)]
    if upgrade:
        uses.append(Use(draw(st.sampled_from(["host:web1", "host:web2"]))))
    elif server != "server:live":
        uses.append(Use("server:live"))
    uses.append(Use(EVERYTHING))
    if draw(st.integers(0, 15)) == 0:
        uses = [Use("server:live", 2), Use(EVERYTHING)]
    not_before = draw(st.none() | moments)
    start_by = None
    if draw(st.integers(0, 2)) == 0:
        start_by = (not_before or NOW - GRID * 8) + draw(steps) * 2
    expected = draw(steps)
    return Waiting(
        id=RequestId.of(number),
        kind=Kind.UPGRADE if upgrade else Kind.REFRESH,
        site=site,
        asked_at=NOW - draw(st.integers(0, 6)) * timedelta(hours=1),
        uses=tuple(uses),
        likely=expected * 0.7,
        expected=expected,
        put_back=draw(st.integers(0, 8)) * GRID,
        calendar=draw(st.sampled_from(CALENDARS[:2] if upgrade else CALENDARS[2:])),
        zone=CHICAGO,
        not_before=not_before,
        start_by=start_by,
        confirmed=draw(st.none() | st.none() | moments),
        hold=draw(st.sampled_from([None] * 8 + list(Hold))) if holds else None,
        scopes=frozenset({"all", f"customer:{site.customer}"}),
    )


@st.composite
def works(draw: st.DrawFn, number: int) -> Running:
    site = draw(st.sampled_from(SITES))
    return Running(
        run=RunId.of(RequestId.of(900 + number), 1),
        uses=(Use(f"database:{site}"), Use("server:trial"), Use(EVERYTHING)),
        until=NOW + draw(st.integers(-4, 40)) * GRID,
        put_back=GRID,
    )


@st.composite
def queues(draw: st.DrawFn, most: int = 9, *, pauses: bool = True) -> Queue:
    count = draw(st.integers(1, most))
    waiting = [draw(wants(number)) for number in range(1, count + 1)]
    running = [draw(works(number)) for number in range(1, draw(st.integers(0, 2)) + 1)]
    found = []
    if pauses and draw(st.integers(0, 3)) == 0:
        found.append(
            Pause(
                scope=draw(st.sampled_from(["all", "customer:lakeside"])),
                reason="storage is being replaced",
                by="dana@hosting.example.org",
                at=NOW - GRID,
                until=draw(st.none() | moments),
            )
        )
    return Queue(
        now=NOW,
        waiting=tuple(waiting),
        running=tuple(running),
        capacities=CAPACITIES,
        pauses=tuple(found),
    )
