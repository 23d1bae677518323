"""Take a snapshot of every database that the web application serves, after the stop: no write is lost.

Invariant: no migration begins before every snapshot was proven; a snapshot is dropped only when its run has
ended well, or was itself put in the database's place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed

import psycopg

from policy.errors import FreshetError
from tasks.snapshots import Kept, kept
from tasks.step import Step, Work


def _done(work: Work) -> bool:
    return all(keep.is_taken() for keep in kept(work))


def _do(work: Work) -> Mapping[str, object]:
    began = time.monotonic()
    servers = kept(work)
    taken: dict[str, Mapping[str, object]] = {}
    failures: list[Exception] = []
    # Users wait, and the servers do not disturb each other.
    with ThreadPoolExecutor(max_workers=len(servers)) as pool:
        for done in as_completed([pool.submit(_take, keep) for keep in servers]):
            try:
                taken.update(done.result())
            except (FreshetError, psycopg.Error) as failure:
                failures.append(failure)
            else:
                work.mid()
    if failures:
        raise failures[0]
    return {"snapshots": taken, "snapshot_seconds": round(time.monotonic() - began, 3)}


def _take(keep: Kept) -> Mapping[str, Mapping[str, object]]:
    """Take the snapshots of one server, one after the other."""
    chosen, size = keep.take()
    told = {"bytes": size, "kind": chosen.kind.value, "not": dict(chosen.why_not)}
    return {str(site.database): told for site in keep.sites}


def _undo(work: Work) -> None:
    for keep in kept(work):
        keep.drop()
        work.mid()


take_snapshot = Step(name="take_snapshot", title="Take snapshots", done=_done, do=_do, undo=_undo, drops=True)
