"""Keeps a copy from taking more of the source than it may.

A stream runs in stretches and rests between them. A rest after every block would not do: while a stream
rests, the source's backend fills the socket with what comes next, and where masks make it the slower side it
would never stop. A stretch is many times what the socket holds, so that in a rest the backend soon waits.

Invariant: streams together pass at most the allowed bytes a second, and while the source is busy for others
they together run for no more than the allowed share of the time.
"""

from __future__ import annotations

import threading
import time

import psycopg

from infra.postgres.methods import Throttle

BUSY_TRANSACTIONS_PER_S = 50
"""From so many transactions a second on a source counts as busy: a short one is seldom seen at work."""

QUIET_LOOKS = 4
"""A source counts as busy until so many looks in a row found it quiet."""

STRETCH_SECONDS = 0.5
"""A stream runs so long before it rests; a socket holds what is carried in a tenth of it."""

LONGEST_REST_SECONDS = 15.0
"""A filter may read for minutes before its first row; no rest after it gives that back."""

_SLICE_SECONDS = 0.1
_OTHERS = """
SELECT count(*) FILTER (WHERE a.state = 'active') AS active,
       bool_or(a.state IS NULL) AS hidden,
       (SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database)::bigint AS transactions
  FROM pg_stat_activity a
 WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
   AND a.application_name <> current_setting('application_name')
"""


class Governor:
    """Paces the streams of one copy.

    Args:
        throttle: the limits.
        streams: how many there are at most at a time; each has its part of the share.
        stop: ends every rest when set.
    """

    def __init__(self, throttle: Throttle, *, stop: threading.Event, streams: int = 1) -> None:
        self._throttle = throttle
        self._share = throttle.busy_share / streams
        self._stop = stop
        self._lock = threading.Lock()
        self._next = time.monotonic()
        self._stretch = _Stretch()
        self._transactions: tuple[float, int] | None = None
        self._quiet = 0
        self.busy = False
        self.rested = 0.0

    def look(self, connection: psycopg.Connection) -> None:
        """See whether the source is busy for others: by sessions at work, and by transactions since the last.

        A role without pg_monitor is not told of the sessions.
        """
        connection.execute("SELECT pg_stat_clear_snapshot()")
        row = connection.execute(_OTHERS).fetchone()
        if row is None:
            return
        active, hidden, transactions = row
        now = time.monotonic()
        busy = not hidden and active >= self._throttle.busy_sessions
        if self._transactions is not None:
            then, before = self._transactions
            busy = busy or (transactions - before) / max(now - then, 0.001) >= BUSY_TRANSACTIONS_PER_S
        self._transactions = (now, transactions)
        self._quiet = 0 if busy else self._quiet + 1
        self.busy = busy or (self.busy and self._quiet < QUIET_LOOKS)

    def begin(self) -> None:
        """The calling stream asks the source from now on; what it did before was not the source's work."""
        self._stretch.since = time.monotonic()

    def pace(self, size: int) -> None:
        """Return when the calling stream may take its next block, after one of `size` bytes."""
        stretch = self._stretch
        now = time.monotonic()
        stretch.worked += now - stretch.since
        self._rest(self._for_rate(size), while_busy=False)
        if not self.busy:
            stretch.worked = 0.0
        elif stretch.worked >= STRETCH_SECONDS:
            rest = stretch.worked * (1 / self._share - 1)
            self._rest(min(rest, LONGEST_REST_SECONDS), while_busy=True)
            stretch.worked = 0.0
        stretch.since = time.monotonic()

    def _rest(self, seconds: float, *, while_busy: bool) -> None:
        began = time.monotonic()
        ends = began + seconds
        now = began
        while now < ends and not self._stop.is_set() and (self.busy or not while_busy):
            self._stop.wait(min(ends - now, _SLICE_SECONDS))
            now = time.monotonic()
        with self._lock:
            self.rested += now - began

    def _for_rate(self, size: int) -> float:
        limit = self._throttle.bytes_per_s
        if limit is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now) + size / limit
            return self._next - now


class _Stretch(threading.local):
    """Of each stream: since when it runs, and for how long it ran since it last rested."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.worked = 0.0
