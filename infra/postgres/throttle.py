"""Keeps a copy from taking more of the source than it may.

Invariant: streams together pass at most the allowed bytes a second, and while the source is busy for others
they together run for no more than the allowed share of the time; for the rest of it each of them rests, so
that its backend waits on a full socket and uses nothing.
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

_LONGEST_REST = 1.0
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
    """

    def __init__(self, throttle: Throttle, *, streams: int = 1) -> None:
        self._throttle = throttle
        self._share = throttle.busy_share / streams
        self._lock = threading.Lock()
        self._next = time.monotonic()
        self._local = threading.local()
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

    def pace(self, size: int) -> None:
        """Return when the calling stream may take its next block, after one of `size` bytes."""
        rest = self._rest_for_others() + self._rest_for_rate(size)
        if rest > 0:
            self.rested += rest
            time.sleep(min(rest, _LONGEST_REST))
        self._local.began = time.monotonic()

    def _rest_for_others(self) -> float:
        began: float | None = getattr(self._local, "began", None)
        if not self.busy or began is None:
            return 0.0
        worked = time.monotonic() - began
        return worked * (1 / self._share - 1)

    def _rest_for_rate(self, size: int) -> float:
        limit = self._throttle.bytes_per_s
        if limit is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now) + size / limit
            return self._next - now
