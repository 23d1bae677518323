"""The queue as the planner wants it, read from the ledger and the estate.

Invariant: every open request is in it exactly once, waiting or running.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from infra.ledger import pauses, requests
from infra.ledger.connection import Connection
from policy.durations import Estimate, Observation, Phase, estimate
from policy.estate import Estate
from policy.names import RequestId, RunId, SiteId
from policy.pause import scopes_of
from policy.request import Kind, Request, Status
from policy.waiting import Calendars, Hold, Queue, Running, Waiting, capacities_of, uses_of

_HOLDS = {Status.DEFERRED: Hold.DEFERRED, Status.PENDING_INPUT: Hold.ANSWER}
_WAITING = (Status.TO_BE_SCHEDULED, Status.SCHEDULED, Status.DEFERRED, Status.PENDING_INPUT)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The queue, with the requests that wait in it as they stood at that moment."""

    queue: Queue
    requests: Mapping[RequestId, Request]


def read_queue(connection: Connection, estate: Estate, now: datetime) -> Reading:
    """Everything that a plan is made from, as of `now`."""
    history: dict[SiteId, list[Observation]] = defaultdict(list)
    for seen in observations(connection):
        history[seen.site].append(seen)
    calendars = Calendars(estate, now - timedelta(days=1))
    running = _running(connection, estate, history)
    busy = {entry.run.request for entry in running}
    locked = _locked(connection)
    found = [request for request in requests.find(connection, statuses=_WAITING) if request.id not in busy]
    queue = Queue(
        now=now,
        waiting=tuple(
            waiting_of(estate, request, calendars, history.get(request.site, ()), locked) for request in found
        ),
        running=tuple(running),
        capacities=capacities_of(estate),
        pauses=tuple(pauses.every(connection)),
    )
    return Reading(queue=queue, requests={request.id: request for request in found})


def running_requests(connection: Connection) -> list[Request]:
    """The requests whose runs are under way; stuck ones do not run."""
    rows = connection.execute("select request from run where state = 'live' order by id").fetchall()
    return [requests.get(connection, RequestId.of(int(str(row["request"])))) for row in rows]


def shortage(connection: Connection, estate: Estate, request: Request) -> str:
    """What the runs under way leave too little of for `request` to begin as well; empty if there is room."""
    taken: Counter[str] = Counter()
    for other in running_requests(connection):
        taken.update({use.resource: use.amount for use in uses_of(estate, other.kind, other.site)})
    there = capacities_of(estate)
    for use in uses_of(estate, request.kind, request.site):
        if taken[use.resource] + use.amount > there.get(use.resource, 1):
            return use.resource
    return ""


def observations(connection: Connection) -> list[Observation]:
    """What runs have taken, newest last; at most the last thousands, for the planner's quantiles."""
    rows = connection.execute(
        "select customer, environment, kind, step, seconds, bytes, at from observation"
        " where step in ('work', 'put_back') order by id desc limit 20000"
    ).fetchall()
    found = []
    for row in reversed(rows):
        cell: dict[str, Any] = dict(row)
        found.append(
            Observation(
                site=SiteId.parse(f"{cell['customer']}/{cell['environment']}"),
                kind=Kind(cell["kind"]),
                phase=Phase(cell["step"]),
                took=timedelta(seconds=cell["seconds"]),
                size=cell["bytes"],
                at=cell["at"],
            )
        )
    return found


def expected(request: Request, history: Iterable[Observation]) -> Estimate:
    """How long carrying out `request` will take, from this site's own history first."""
    own = [seen for seen in history if seen.site == request.site]
    sizes = [seen.size for seen in own if seen.size is not None]
    return estimate(
        request.kind,
        request.site,
        sizes[-1] if sizes else 0,
        own,
        refresh_too=request.refresh and request.kind is Kind.UPGRADE,
    )


def waiting_of(
    estate: Estate,
    request: Request,
    calendars: Calendars,
    history: Iterable[Observation],
    locked: Collection[str] = (),
) -> Waiting:
    """`request` as the planner sees it.

    Args:
        estate: what is hosted.
        request: one that waits.
        calendars: shared between the requests of one queue.
        history: what runs on its site have taken.
        locked: the web applications that a stuck run holds.
    """
    took = expected(request, history)
    hold = _HOLDS.get(request.status)
    if hold is None and estate.webapp(request.site).key in locked:
        hold = Hold.LOCKED
    return Waiting(
        id=request.id,
        kind=request.kind,
        site=request.site,
        asked_at=request.asked_at,
        uses=uses_of(estate, request.kind, request.site),
        likely=took.likely,
        expected=took.expected,
        put_back=took.put_back,
        calendar=calendars.of(request.site, request.kind),
        zone=estate.customer(request.site.customer).zone,
        not_before=request.not_before,
        start_by=request.start_by,
        confirmed=request.scheduled_for,
        hold=hold,
        scopes=scopes_of(estate, request.site),
    )


def _running(
    connection: Connection, estate: Estate, history: Mapping[SiteId, Sequence[Observation]]
) -> list[Running]:
    rows = connection.execute("select id, started_at from run where state = 'live'").fetchall()
    found = []
    for row in rows:
        cell: dict[str, Any] = dict(row)
        run = RunId(cell["id"])
        request = requests.get(connection, run.request)
        took = expected(request, history.get(request.site, ()))
        found.append(
            Running(
                run=run,
                uses=uses_of(estate, request.kind, request.site),
                until=cell["started_at"] + took.expected,
                put_back=took.put_back,
            )
        )
    return found


def _locked(connection: Connection) -> frozenset[str]:
    rows = connection.execute("select webapp from run where state = 'stuck'").fetchall()
    return frozenset(str(row["webapp"]) for row in rows)
