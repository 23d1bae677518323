"""Take a snapshot of every database that the web application serves, after the stop: no write is lost.

Invariant: no migration begins before every snapshot was proven; a snapshot is dropped only when its run has
ended well, or was itself put in the database's place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from infra.postgres import snapshot
from tasks.application import served
from tasks.server_session import server_session
from tasks.step import Step, Work


def _done(work: Work) -> bool:
    for site in served(work)[1]:
        with server_session(work, site) as session:
            if not snapshot.is_taken(session, site.database, work.run):
                return False
    return True


def _do(work: Work) -> Mapping[str, object]:
    sizes: dict[str, int] = {}
    began = time.monotonic()
    for site in served(work)[1]:
        with server_session(work, site) as session:
            if snapshot.is_taken(session, site.database, work.run):
                continue
            work.prove()
            sizes[site.database] = snapshot.take(session, site.database, work.run, at=work.clock.now())
        work.mid()
    return {"snapshot_bytes": sizes, "snapshot_seconds": round(time.monotonic() - began, 3)}


def _undo(work: Work) -> None:
    for site in served(work)[1]:
        with server_session(work, site) as session:
            work.prove()
            snapshot.drop(session, site.database, work.run)
        work.mid()


take_snapshot = Step(name="take_snapshot", title="Take snapshots", done=_done, do=_do, undo=_undo, drops=True)
