"""How long a swap keeps clients out, and whether it ever fails, under clients that reconnect without a pause.

The figure is what a client sees that asks every 50 ms: the longest time between two of its good answers.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from infra.postgres.incoming import create_incoming, drop_made
from infra.postgres.swap import swap
from infra.stack.cluster import Cluster
from policy.errors import FreshetError
from policy.names import DatabaseName, RunId, previous_name

SWAPS = 20
CLIENTS = 16
RETRY_S = 0.05


@dataclass
class Seen:
    """What the asking client saw during one swap."""

    longest: float = 0.0
    last: float = field(default_factory=time.monotonic)

    def answered(self) -> None:
        """A good answer came."""
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now


def figures() -> dict[str, float]:
    """Measure on a cluster of its own."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        cluster = Cluster(data=Path(folder) / "data", port=port)
        cluster.initialise()
        cluster.start()
        try:
            return measure(cluster)
        finally:
            cluster.stop(fast=False)


def measure(cluster: Cluster, *, swaps: int = SWAPS, clients: int = CLIENTS) -> dict[str, float]:
    """`swaps` swaps of one database under `clients` reconnecting clients and one that asks every 50 ms."""
    database = DatabaseName(f"busy_{secrets.token_hex(4)}")
    longest: list[float] = []
    took: list[float] = []
    failures = 0
    with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {}").format(Identifier(database)))
        try:
            with _clients(cluster, database, clients) as seen:
                for number in range(1, swaps + 1):
                    run = RunId(f"r{number}a1")
                    create_incoming(admin, database, run, at=datetime.now(UTC), encoding="UTF8")
                    seen.longest = 0.0
                    try:
                        report = swap(lambda: _open(cluster), database, run, at=datetime.now(UTC))
                        took.append(report.seconds)
                    except FreshetError:
                        failures += 1
                    time.sleep(4 * RETRY_S)
                    longest.append(max(seen.longest, time.monotonic() - seen.last))
                    drop_made(admin, previous_name(database, run), run)
        finally:
            admin.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(database)))
    ordered = sorted(longest)
    return {
        "swap_downtime_max_s": round(ordered[-1], 3),
        "swap_downtime_median_s": round(ordered[len(ordered) // 2], 3),
        "swap_seconds_max": round(max(took, default=0.0), 3),
        "swap_failures": failures,
        "swaps": swaps,
        "swap_clients": clients,
    }


def _open(cluster: Cluster) -> psycopg.Connection:
    return psycopg.connect(cluster.dsn(), autocommit=True)


@contextlib.contextmanager
def _clients(cluster: Cluster, database: str, clients: int) -> Iterator[Seen]:
    ended = threading.Event()
    seen = Seen()
    asking = threading.Thread(target=_ask, args=(cluster, database, ended, seen.answered))
    others = [threading.Thread(target=_hammer, args=(cluster, database, ended)) for _ in range(clients)]
    for thread in (asking, *others):
        thread.start()
    try:
        time.sleep(1)
        yield seen
    finally:
        ended.set()
        for thread in (asking, *others):
            thread.join()


def _ask(cluster: Cluster, database: str, ended: threading.Event, answered: Callable[[], None]) -> None:
    while not ended.is_set():
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(cluster.dsn(database)) as session:
            while not ended.is_set():
                session.execute("SELECT 1")
                answered()
                time.sleep(RETRY_S / 5)
        time.sleep(RETRY_S)


def _hammer(cluster: Cluster, database: str, ended: threading.Event) -> None:
    while not ended.is_set():
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(cluster.dsn(database)) as session:
            session.execute("SELECT count(*) FROM pg_class")
