"""People at work while updates go on: they write numbers, read whole pages, and try every door.

Invariant: a number counts as acknowledged only when its commit was answered; whatever else happened to one
may be found later or not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from policy.names import SiteId
from tests.faults.doors import Doors, Found, has_people
from tests.faults.ground import PRODUCTION, SANDBOX, Ground

WRITE_EVERY_S = 0.01
LOOK_EVERY_S = 0.02


@dataclass
class Numbers:
    """What one writer knows.

    Attributes:
        acknowledged: number and the generation of the data it was written into.
        unknown: their commits were not answered.
    """

    acknowledged: dict[int, int] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
    turned_away: int = 0


@dataclass
class Visitors:
    """Threads that visit a ground.

    Attributes:
        mixes: pages of the Sandbox that belonged to more than one generation.
        doors: what somebody without rights found, when all of it is over.
    """

    ground: Ground
    production: Numbers = field(default_factory=Numbers)
    sandbox: Numbers = field(default_factory=Numbers)
    mixes: list[str] = field(default_factory=list)
    doors: Found = field(default_factory=Found)
    broken: list[str] = field(default_factory=list)
    pages: int = 0
    gone: threading.Event = field(default_factory=threading.Event)

    def write(self, site: SiteId) -> None:
        """Write one number after another, as long as the site serves."""
        production = site == PRODUCTION
        numbers, host = (self.production if production else self.sandbox), self.ground.host(site)
        number = 0
        while not self.gone.wait(WRITE_EVERY_S):
            with host.serving(site.environment) as served:
                if not served:
                    numbers.turned_away += 1
                    continue
                # Production's numbers are copied into the Sandbox, whose own are negative.
                number += 1 if production else -1
                try:
                    with self.ground.session(site) as session:
                        row = session.execute(
                            "INSERT INTO numbers SELECT %s, n FROM generation RETURNING generation", [number]
                        ).fetchone()
                except psycopg.OperationalError:
                    numbers.unknown.add(number)
                else:
                    assert row is not None
                    numbers.acknowledged[number] = int(row[0])

    def read(self) -> None:
        """Read the Sandbox's data in one look: all of it is of one generation."""
        while not self.gone.wait(LOOK_EVERY_S):
            try:
                with self.ground.session(SANDBOX) as session:
                    row = session.execute(
                        "SELECT (SELECT n FROM generation), count(*), min(grade), max(grade) FROM people"
                    ).fetchone()
            except psycopg.OperationalError:
                # The moment of the swap: it is refused, never half.
                continue
            assert row is not None
            self.pages += 1
            generation, people, first, last = row
            if not people or {first, last} != {generation}:
                self.mixes.append(f"generation {generation}: {people} people of {first} to {last}")


def unmasked_databases(ground: Ground) -> list[str]:
    """Databases of the ground on the target's server in which a superuser finds a person of Production."""
    found = []
    with ground.admin(ground.trial) as session:
        names = session.execute(
            "SELECT datname::text FROM pg_database WHERE datallowconn AND datname LIKE %s",
            [f"%\\_{ground.word}%"],
        ).fetchall()
    for (name,) in names:
        with psycopg.connect(ground.trial.dsn(name)) as inside:
            row = inside.execute("SELECT to_regclass('public.people') IS NOT NULL").fetchone()
            if row == (True,) and has_people(inside):
                found.append(name)
    return found


@contextmanager
def visitors(ground: Ground) -> Iterator[Visitors]:
    """Visitors on `ground`, gone afterwards."""
    role, password = f"visitor_{ground.word}", f"visits-{ground.word}"
    with ground.admin(ground.trial) as session:
        # Thousands of log-ins: what is tried here is not how slow the hash is.
        session.execute("SET scram_iterations = 1")
        session.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(Identifier(role), password))
        session.execute(SQL("GRANT pg_read_all_data TO {}").format(Identifier(role)))
        session.execute(
            SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                Identifier(ground.databases[SANDBOX]), Identifier(role)
            )
        )
    ground.roles["visitor"] = role
    made = Visitors(ground)

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - a visitor that fell over saw nothing more
                made.broken.append(repr(error))

        return run

    threads = [
        threading.Thread(target=guarded(work), name=f"visitor-{number}")
        for number, work in enumerate(
            (
                lambda: made.write(PRODUCTION),
                lambda: made.write(SANDBOX),
                made.read,
            )
        )
    ]
    where = make_conninfo(ground.trial.dsn("postgres", role), password=password)
    doors = Doors(where, f"%\\_{ground.word}%")
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.gone.set()
        for thread in threads:
            thread.join(30)
        made.doors = doors.leave()
