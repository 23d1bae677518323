"""Take a snapshot of every database that the web application serves, after the stop: no write is lost.

Invariant: no migration begins before every snapshot was proven; a snapshot is dropped only when its run has
ended well, or was itself put in the database's place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import psycopg

from policy.errors import FreshetError
from policy.estate import Site
from policy.names import ServerName
from tasks import snapshots
from tasks.application import served
from tasks.server_session import server_session
from tasks.step import Step, Work


def _done(work: Work) -> bool:
    for site in served(work)[1]:
        with server_session(work, site) as session:
            if not snapshots.is_taken(work, session, site):
                return False
    return True


def _do(work: Work) -> Mapping[str, object]:
    began = time.monotonic()
    by_server: dict[ServerName, list[Site]] = {}
    for site in served(work)[1]:
        by_server.setdefault(site.server, []).append(site)
    taken: dict[str, Mapping[str, object]] = {}
    failures: list[Exception] = []
    # Users wait, and the servers do not disturb each other.
    with ThreadPoolExecutor(max_workers=len(by_server)) as pool:
        for done in as_completed([pool.submit(_take, work, sites) for sites in by_server.values()]):
            try:
                taken.update(done.result())
            except (FreshetError, psycopg.Error) as failure:
                failures.append(failure)
            else:
                work.mid()
    if failures:
        raise failures[0]
    return {"snapshots": taken, "snapshot_seconds": round(time.monotonic() - began, 3)}


def _take(work: Work, sites: Sequence[Site]) -> Mapping[str, Mapping[str, object]]:
    """Take the snapshots of one server, one after the other."""
    taken: dict[str, Mapping[str, object]] = {}
    for site in sites:
        with server_session(work, site) as session:
            if not snapshots.is_taken(work, session, site):
                work.prove()
                chosen, size = snapshots.take(work, session, site)
                taken[str(site.database)] = {
                    "bytes": size,
                    "kind": chosen.kind.value,
                    "not": dict(chosen.why_not),
                }
    return taken


def _undo(work: Work) -> None:
    for site in served(work)[1]:
        with server_session(work, site) as session:
            work.prove()
            snapshots.drop(work, session, site)
        work.mid()


take_snapshot = Step(name="take_snapshot", title="Take snapshots", done=_done, do=_do, undo=_undo, drops=True)
