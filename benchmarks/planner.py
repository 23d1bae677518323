"""The planner at the size it is meant for: 5,000 sites, 10,000 waiting requests, 8 weeks of windows.

Each measurement runs in a process of its own, so that its memory is its own. The queue is deterministic:
1,250 customers of 4 sites in 7 zones; half belong to one of 40 groups and share its windows, the others have
their own; every site waits for two things. What is limited: web applications and databases (once), 125
database servers, 250 hosts, and the runs of the whole estate.
"""

from __future__ import annotations

import json
import math
import random
import resource
import statistics
import subprocess
import sys
import time as clock
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from policy.maintenance_window import Freeze, Weekday, Window
from policy.names import CustomerName, Environment, RequestId, RunId, SiteId
from policy.openings import minute
from policy.plan import Placement
from policy.planner import Planner, plan
from policy.request import Kind
from policy.waiting import EVERYTHING, Queue, Running, Use, Waiting
from policy.windows import Calendar

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEEKS = 8
ZONES = [
    ZoneInfo(name)
    for name in (
        "America/Chicago",
        "America/New_York",
        "America/Los_Angeles",
        "Europe/Berlin",
        "Europe/London",
        "Asia/Kolkata",
        "Australia/Sydney",
    )
]
SERVER_SLOTS, HOST_SLOTS = 4, 2
CHANGES = 60


def queue_of(requests: int, *, runs: int | None = None) -> Queue:
    """A queue of so many requests on half as many sites.

    Args:
        requests: how many wait.
        runs: the limit on runs in the whole estate; by default the slots of the servers are scarcer.
    """
    draw = random.Random(20261121)  # noqa: S311 - a repeatable queue, no secret
    sites = requests // 2
    customers = max(1, sites // 4)
    servers, hosts, groups = max(1, sites // 40), max(1, sites // 20), max(1, customers // 31)
    freeze = Freeze(
        name="year end",
        zone=ZONES[0],
        first=date(2026, 12, 24),
        last=date(2027, 1, 2),
        reason="books are closed",
        yearly=True,
    )
    shared = [_calendar(draw, (freeze,)) for _ in range(groups)]
    whenever = Calendar(windows=None, freezes=(freeze,), since=NOW)
    waiting: list[Waiting] = []
    for number in range(customers):
        own = draw.choice(shared) if draw.random() < 0.5 else _calendar(draw, (freeze,))
        for environment in Environment:
            site = SiteId(CustomerName(f"c{number}"), environment)
            server = f"server:s{draw.randrange(servers)}"
            webapp = "live" if environment in {Environment.PRODUCTION, Environment.SANDBOX} else environment
            uses = (
                Use(f"webapp:c{number}/{webapp}"),
                Use(f"database:{site}"),
                Use(server),
                Use(f"host:h{draw.randrange(hosts)}"),
                Use(EVERYTHING),
            )
            for kind in (Kind.UPGRADE, Kind.REFRESH):
                expected = timedelta(minutes=draw.randint(10, 90))
                asked_at = NOW - timedelta(minutes=draw.randrange(3 * 7 * 1440))
                soon = kind is Kind.REFRESH and draw.random() < 0.5
                wish = NOW + timedelta(minutes=draw.randrange(WEEKS * 7 * 1440)) if soon else None
                waiting.append(
                    Waiting(
                        id=RequestId.of(len(waiting) + 1),
                        kind=kind,
                        site=site,
                        asked_at=asked_at,
                        uses=uses,
                        likely=expected * 0.7,
                        expected=expected,
                        put_back=timedelta(minutes=draw.randint(3, 30)),
                        calendar=own if kind is Kind.UPGRADE else whenever,
                        zone=ZONES[0],
                        not_before=wish,
                        start_by=wish + timedelta(hours=4) if wish else None,
                    )
                )
    capacities = {
        EVERYTHING: runs or max(4, requests // 16),
        **{f"server:s{n}": SERVER_SLOTS for n in range(servers)},
        **{f"host:h{n}": HOST_SLOTS for n in range(hosts)},
    }
    return Queue(now=NOW, waiting=tuple(waiting[:requests]), capacities=capacities)


def _calendar(draw: random.Random, freezes: tuple[Freeze, ...]) -> Calendar:
    days = draw.sample(list(Weekday), draw.choice([1, 1, 2]))
    window = Window(
        name="night",
        zone=draw.choice(ZONES),
        days=frozenset(days),
        start=time(draw.choice([0, 1, 4, 22]), draw.choice([0, 30])),
        length=timedelta(hours=draw.choice([3, 4, 5])),
        valid_from=date(2026, 1, 1),
    )
    return Calendar(windows=(window,), freezes=freezes, since=NOW)


def whole(requests: int) -> Mapping[str, float]:
    """Plan so many requests from nothing, every reason included."""
    queue = queue_of(requests)
    before = _rss_mb()
    began = clock.perf_counter()
    made = plan(queue)
    took = clock.perf_counter() - began
    placed = [a for a in made.answers.values() if isinstance(a, Placement)]
    return {
        "seconds": took,
        "rss_mb": _rss_mb(),
        "grown_mb": _rss_mb() - before,
        "placed": len(placed),
        "in_weeks": sum(a.start < NOW + timedelta(weeks=WEEKS) for a in placed),
    }


def saturated(requests: int) -> Mapping[str, float]:
    """As `changes`, where the limit on the whole estate is what everybody waits for."""
    return changes(requests, runs=requests // 25)


def changes(requests: int, *, runs: int | None = None) -> Mapping[str, float]:
    """Follow one change at a time: a request is asked for anew, withdrawn, takes longer, or is moved."""
    draw = random.Random(7)  # noqa: S311 - repeatable changes, no secret
    queue = queue_of(requests, runs=runs)
    planner = Planner(queue)
    queue = begun(queue, planner)
    planner.update(queue)
    changed: list[float] = []
    ticked: list[float] = []
    moved = 0
    for step in range(CHANGES):
        waiting = list(queue.waiting)
        index = draw.randrange(len(waiting))
        if step % 4 == 0:
            waiting.append(replace(waiting.pop(index), id=RequestId.of(900_000 + step), asked_at=NOW))
        elif step % 4 == 1:
            del waiting[index]
        elif step % 4 == 2:
            waiting[index] = replace(waiting[index], expected=waiting[index].expected * 1.5)
        else:
            later = NOW + timedelta(days=9)
            waiting[index] = replace(waiting[index], not_before=later, start_by=None)
        queue = replace(queue, waiting=tuple(waiting))
        took, which = _timed(planner, queue)
        changed.append(took)
        moved += which
        queue = begun(replace(queue, now=queue.now + timedelta(minutes=1)), planner)
        ticked.append(_timed(planner, queue)[0])
    made = planner.plan()
    dated = tuple(
        replace(w, confirmed=found.start) if (found := made.placement(w.id)) else w for w in queue.waiting
    )
    queue = replace(queue, waiting=dated)
    planner = Planner(queue)
    announced: list[float] = []
    for _ in range(CHANGES):
        index = draw.randrange(len(queue.waiting))
        queue = replace(queue, waiting=queue.waiting[:index] + queue.waiting[index + 1 :])
        announced.append(_timed(planner, queue)[0])
    return {
        "median": statistics.median(changed),
        "p95": sorted(changed)[int(CHANGES * 0.95)],
        "worst": max(changed),
        "tick_p95": sorted(ticked)[int(CHANGES * 0.95)],
        "announced_p95": sorted(announced)[int(CHANGES * 0.95)],
        "moved": moved,
    }


def begun(queue: Queue, planner: Planner) -> Queue:
    """The queue after everything that is due has begun, and after the runs whose time is over have ended."""
    now = minute(queue.now)
    due = {w.id for w in queue.waiting if (at := planner.start(w.id)) is not None and at <= now}
    running = [r for r in queue.running if r.until > queue.now]
    running += [
        Running(run=RunId.of(w.id, 1), uses=w.uses, until=queue.now + w.expected, put_back=w.put_back)
        for w in queue.waiting
        if w.id in due
    ]
    return replace(queue, waiting=tuple(w for w in queue.waiting if w.id not in due), running=tuple(running))


def _timed(planner: Planner, queue: Queue) -> tuple[float, int]:
    """Milliseconds that following `queue` took, and how many requests it moved."""
    began = clock.perf_counter()
    moved = planner.update(queue)
    return (clock.perf_counter() - began) * 1000, len(moved)


def figures() -> dict[str, float]:
    """What `make bench BENCH=planner` reports."""
    sizes = (1_000, 2_000, 4_000, 10_000)
    runs = {size: [_apart("whole", size) for _ in range(3)] for size in sizes}
    seconds = {size: min(run["seconds"] for run in runs[size]) for size in sizes}
    full = runs[10_000][0]
    replans, worst = _apart("changes", 10_000), _apart("saturated", 10_000)
    return {
        "plan_5000_s": round(statistics.median(run["seconds"] for run in runs[10_000]), 3),
        "plan_rss_mb": round(max(run["rss_mb"] for run in runs[10_000]), 1),
        "replan_ms": round(replans["p95"], 1),
        "replan_median_ms": round(replans["median"], 1),
        "replan_worst_ms": round(replans["worst"], 1),
        "replan_saturated_p95_ms": round(worst["p95"], 1),
        "replan_announced_ms": round(replans["announced_p95"], 1),
        "tick_ms": round(replans["tick_p95"], 1),
        "moved_per_change": round(replans["moved"] / CHANGES, 1),
        "scaling_exponent": round(_slope(seconds), 3),
        **{f"plan_{size}_requests_s": round(seconds[size], 3) for size in sizes},
        "placed": full["placed"],
        "placed_within_8_weeks": full["in_weeks"],
    }


def _slope(seconds: Mapping[int, float]) -> float:
    """The exponent of growth, by least squares on logarithms: 1 is linear."""
    points = [(math.log(size), math.log(took)) for size, took in seconds.items()]
    x, y = (statistics.fmean(axis) for axis in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _apart(what: str, size: int) -> Mapping[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.planner", what, str(size)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: Mapping[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    print(
        json.dumps(
            {"whole": whole, "changes": changes, "saturated": saturated}[sys.argv[1]](int(sys.argv[2]))
        )
    )
