"""Tries every door of a server, again and again: which databases let a stranger in, and who is inside?

Invariant: a process of its own, so that nobody else's work in the test slows it; asking goes on while a door
is gone through. A door that was shut a moment ago is gone through at once, the others now and then.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

PROJECT = Path(__file__).parents[2]
EVERY_S = 0.005
LOOK_AGAIN_S = 0.2
GUESTS = 3
OPEN = (
    "SELECT oid::bigint, datname::text FROM pg_database"
    " WHERE datallowconn AND datname LIKE %s AND has_database_privilege(oid, 'CONNECT')"
)
PERSON = (
    "SELECT EXISTS (SELECT FROM people WHERE email LIKE 'canary%' OR name LIKE 'Canary%'"
    " OR notes LIKE '%canary%')"
)


@dataclass
class Found:
    """What came of it.

    Attributes:
        tries: how often it was asked which doors are open.
        entered: how often somebody got in.
        canaries: databases in which a person of Production was met.
        p50_ms: half of the tries came this soon after the one before.
        p99_ms: all but a hundredth of them did.
    """

    tries: int = 0
    entered: int = 0
    canaries: list[str] = field(default_factory=list)
    p50_ms: float = 0.0
    p99_ms: float = 0.0


def has_people(session: psycopg.Connection) -> bool:
    """Whether a person of Production can be recognised."""
    row = session.execute(PERSON).fetchone()
    return bool(row and row[0])


class Doors:
    """Somebody at the doors, in another process.

    Args:
        where: connection string of a database that lets the role in, with its password.
        like: which databases, as a pattern of LIKE.
    """

    def __init__(self, where: str, like: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.doors"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([where, like]) + "\n")
        self._process.stdin.flush()

    def leave(self) -> Found:
        """End it and tell what was found; it must have stood there all the time."""
        said, errors = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, f"nobody stood at the doors any more: {errors}"
        return Found(**json.loads(said))


def stand(where: str, like: str, gone: threading.Event) -> Found:
    """Try until `gone`."""
    found = Found()
    gaps: list[float] = []
    before: set[int] = set()
    looked: dict[int, float] = {}
    due = last = time.monotonic()
    with psycopg.connect(where, autocommit=True) as session, ThreadPoolExecutor(GUESTS) as guests:
        while not gone.is_set():
            now = time.monotonic()
            gaps.append(now - last)
            last = now
            found.tries += 1
            rows = session.execute(OPEN, [like], prepare=True).fetchall()
            for oid, name in rows:
                if oid not in before or now - looked.get(oid, 0) > LOOK_AGAIN_S:
                    looked[oid] = now
                    guests.submit(_enter, where, name, found)
            before = {oid for oid, _ in rows}
            # By the clock, not so long after the last one; but none are made up for.
            due = max(due + EVERY_S, now)
            gone.wait(max(0.0, due - time.monotonic()))
    if len(gaps) > 2:
        cuts = statistics.quantiles(gaps[1:], n=100)
        found.p50_ms, found.p99_ms = round(cuts[49] * 1000, 2), round(cuts[98] * 1000, 2)
    return found


def _enter(where: str, name: str, found: Found) -> None:
    try:
        with psycopg.connect(make_conninfo(where, dbname=name)) as inside:
            met = has_people(inside)
    except psycopg.Error:
        # It was closed, renamed or dropped in between, or the people's table does not exist yet.
        return
    found.entered += 1
    if met:
        found.canaries.append(name)


def main() -> None:
    """Where and what come on the first line of the input; its end is the end."""
    where, like = json.loads(sys.stdin.readline())
    gone = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        gone.set()

    threading.Thread(target=wait, name="wait", daemon=True).start()
    sys.stdout.write(json.dumps(stand(where, like, gone).__dict__))


if __name__ == "__main__":
    main()
