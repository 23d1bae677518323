"""The snapshots of a run, whatever their kind: taken, looked for, put back and dropped in one way.

Invariant: which kind there is, is found by looking; a snapshot is put back by a rename, and is there until
its run has ended.
"""

from __future__ import annotations

from typing import Any

import psycopg

from infra.postgres import snapshot
from infra.postgres.session import connect
from infra.postgres.snapshot_choice import Choice, Kind, choose
from infra.postgres.snapshot_dump import Dump
from policy.estate import Site
from tasks.step import Work

Admin = psycopg.Connection[Any]


def choice_of(work: Work, admin: Admin, site: Site) -> Choice:
    """The kind of snapshot that the server allows for the site's database.

    Raises:
        Refused: it allows none, or not the one that the estate asks for.
    """
    told = work.estate.webapp(site.id).variables
    wanted, room = told.get("snapshot"), told.get("snapshot_room_gb")
    return choose(
        admin,
        work.estate.servers[site.server],
        site.database,
        size=snapshot.size(admin, site.database),
        wanted=None if wanted is None else str(wanted),
        room=None if room is None else int(float(str(room)) * 1e9),
    )


def is_taken(work: Work, admin: Admin, site: Site) -> bool:
    """Whether this run has a complete snapshot of the site's database."""
    return snapshot.is_taken(admin, site.database, work.run) or dump_of(work, site).is_taken()


def take(work: Work, admin: Admin, site: Site) -> tuple[Choice, int]:
    """Take one, proven readable; the choice and its bytes."""
    chosen, at = choice_of(work, admin, site), work.clock.now()
    if chosen.kind is Kind.TEMPLATE:
        return chosen, snapshot.take(admin, site.database, work.run, at=at, strategy=chosen.strategy)
    server = work.estate.servers[site.server]
    snapshot.end_sessions(admin, site.database)
    with connect(server, site.database, server.owner, work.secrets, run=work.run, autocommit=True) as session:
        return chosen, dump_of(work, site).take(admin, session, at=at)


def restore(work: Work, admin: Admin, site: Site) -> bool:
    """Put it into the database's place; False when nothing was changed before it was taken.

    Raises:
        NeedsHuman: it is gone, or cannot be built; what there is was left as it is.
    """
    at, dump = work.clock.now(), dump_of(work, site)
    waiting = snapshot.is_taken(admin, site.database, work.run)
    if not waiting and dump.is_taken() and not snapshot.is_restored(admin, site.database, work.run):
        dump.build(admin, at=at)
    return snapshot.restore(admin, site.database, work.run, at=at)


def is_restored(work: Work, admin: Admin, site: Site) -> bool:
    """Whether it stands in the database's place."""
    return snapshot.is_restored(admin, site.database, work.run)


def drop(work: Work, admin: Admin, site: Site) -> None:
    """Drop it, in whatever state it is."""
    snapshot.drop(admin, site.database, work.run)
    dump_of(work, site).forget()


def dump_of(work: Work, site: Site) -> Dump:
    """Where this run's dump of the site's database would lie."""
    return Dump(
        server=work.estate.servers[site.server],
        database=site.database,
        secrets=work.secrets,
        folder=work.scratch,
        run=work.run,
    )
