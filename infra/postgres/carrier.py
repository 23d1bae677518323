"""Carries the rows of one COPY from a source session to a target session.

Two ways. The bare wire hands whole blocks of the source's answer on as they come, because COPY data look the
same in both directions: measured at 0.7 CPU-seconds per 1.2 GB, where two psql processes took 1.7 and
psycopg's row-wise COPY 6 to 9. It needs both sockets to be without encryption, since libpq keeps the keys;
otherwise psycopg carries row by row.

Invariant: the source and the target agree on the number of rows, or the carrying has failed; nothing of a row
reaches an error message.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from os import dup
from typing import Protocol, Self

import psycopg
from psycopg import sql

from infra.postgres import wire
from infra.postgres.server_error import ServerError, telling
from policy.errors import StepFailed, Unavailable

BLOCK = 128 * 1024
HOLD = 8192
"""Bytes held back, so that the end mark or an error at the end of the stream is ours and not the target's."""

SILENCE_SECONDS = 1800
"""A session that says nothing for so long is given up; a filter may read long before its first row."""

_TICK_SECONDS = 0.5
_QUIET_SECONDS = 1.0
_LONG_QUIET_SECONDS = 60.0
"""What looks like the end of a failure, and so much silence after it, is one even if it cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What was carried."""

    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Load:
    """One COPY on each side.

    Attributes:
        what: the table, for messages.
        take: `COPY … TO STDOUT` for the source.
        put: `COPY … FROM STDIN` for the target.
    """

    what: str
    take: sql.Composed
    put: sql.Composed


class Pace(Protocol):
    """Says when the next block may be read."""

    def begin(self) -> None:
        """A load begins."""

    def pace(self, size: int) -> None:
        """Return when a block may be read after one of `size` bytes."""


class Carrier:
    """Carries between two sessions, one load after another.

    Args:
        source: inside a transaction; only read.
        target: inside a transaction, which the caller commits.
        passed: told the size of each block.
        pace: waits as long as the throttle wants.
        stop: ends the carrying when set.
    """

    def __init__(
        self,
        source: psycopg.Connection,
        target: psycopg.Connection,
        *,
        passed: Callable[[int], None],
        pace: Pace,
        stop: threading.Event,
    ) -> None:
        self.source = source
        self.target = target
        self.passed = passed
        self.pace = pace
        self.stop = stop
        self.bare = not (source.pgconn.ssl_in_use or target.pgconn.ssl_in_use)

    def carry(self, load: Load) -> Carried:
        """Carry one load.

        Raises:
            StepFailed: a server refused a row, the counts differ, or `stop` was set.
            Unavailable: a session was lost.
        """
        self.pace.begin()
        with telling(f"copying {load.what}"):
            return self._bare(load) if self.bare else self._row_by_row(load)

    def _row_by_row(self, load: Load) -> Carried:
        size = 0
        with self.source.cursor() as out, self.target.cursor() as into:
            with out.copy(load.take) as taken, into.copy(load.put) as put:
                while block := taken.read():
                    put.write(block)
                    size += len(block)
                    self._between(len(block))
            return self._agreed(load, out.rowcount, into.rowcount, size)

    def _between(self, size: int) -> None:
        if self.stop.is_set():
            raise StepFailed("the copy was ended")
        self.passed(size)
        self.pace.pace(size)

    def _agreed(self, load: Load, taken: int, put: int | None, size: int) -> Carried:
        if taken != put:
            raise StepFailed(f"copying {load.what}: the source gave {taken} rows and the target took {put}")
        return Carried(rows=taken, bytes=size)

    def _bare(self, load: Load) -> Carried:
        with (
            _Line(self.source, f"copying {load.what}, source", self.stop) as out,
            _Line(self.target, f"copying {load.what}, target", self.stop) as into,
        ):
            into.send(wire.query(load.put.as_bytes(self.target)))
            into.expect(b"G")
            mark = wire.EndMark.draw()
            out.send(wire.query(load.take.as_bytes(self.source) + b"; " + mark.statement()))
            out.expect(b"H")
            taken, size = self._hand_on(out, into, mark)
            into.send(wire.COPY_DONE)
            put = wire.rows_copied(into.expect(b"C"))
            into.expect(b"Z")
            return self._agreed(load, taken, put, size)

    def _hand_on(self, out: _Line, into: _Line, mark: wire.EndMark) -> tuple[int, int]:
        """Hand blocks on until the source says the end mark; the rows it gave and the bytes."""
        trailer = mark.trailer()
        block = bytearray(HOLD + BLOCK)
        view = memoryview(block)
        have = size = 0
        while True:
            have += out.receive_into(view[have:], view[:have])
            end = trailer.search(block, max(0, have - wire.LONGEST_TRAILER), have)
            ready = end.start() if end else have - HOLD
            if ready > 0:
                into.complain_if_refused()
                into.send(view[:ready])
                size += ready
                self._between(ready)
            if end:
                return int(end[1]), size
            if ready > 0:
                block[:HOLD] = block[ready:have]
                have = HOLD


class _Line:
    """A session's socket, borrowed from libpq between two of its statements.

    libpq's own buffers are empty then, and the answers are read up to "ready" before it is given back. After
    a failure the session is closed, since libpq does not know where the conversation stands.
    """

    def __init__(self, connection: psycopg.Connection, what: str, stop: threading.Event) -> None:
        self.connection = connection
        self.what = what
        self.stop = stop
        self.socket = socket.socket(fileno=dup(connection.pgconn.socket))
        self.socket.settimeout(_TICK_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.connection.close()
        self.socket.close()

    def send(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        last = time.monotonic()
        while rest:
            try:
                rest = rest[self.socket.send(rest) :]
                last = time.monotonic()
            except TimeoutError:
                self._patience(last)
            except OSError as error:
                raise self._lost() from error

    def receive_into(self, room: memoryview, before: memoryview) -> int:
        """Receive at least a byte.

        Args:
            room: where to put it.
            before: what came before, in which a failure is looked for when nothing more comes.
        """
        last = time.monotonic()
        while True:
            try:
                count = self.socket.recv_into(room)
            except TimeoutError:
                self._patience(last)
                quiet = time.monotonic() - last
                if quiet > _QUIET_SECONDS and wire.ends_ready(bytes(before)):
                    error = wire.error_at_end(bytes(before))
                    if error or quiet > _LONG_QUIET_SECONDS:
                        raise (error or ServerError("XX000")).raised(self.what) from None
            except OSError as error:
                raise self._lost() from error
            else:
                if not count:
                    ended = wire.error_at_end(bytes(before))
                    raise ended.raised(self.what) if ended else self._lost()
                return count

    def expect(self, kind: bytes) -> bytes:
        """The body of the next message, which must be of this kind."""
        header = self._exactly(wire.HEADER.size)
        found, length = wire.HEADER.unpack(header)
        body = self._exactly(length - 4)
        if found == b"E":
            raise wire.error_in(body).raised(self.what)
        if found in {b"N", b"S", b"A"}:
            return self.expect(kind)
        if found != kind:
            raise StepFailed(f"{self.what}: an answer of kind {found!r} came where {kind!r} was due")
        return body

    def complain_if_refused(self) -> None:
        """Read the target's error as soon as there is one, instead of sending it the rest."""
        if select.select([self.socket], [], [], 0)[0]:
            self.expect(b"C")

    def _exactly(self, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        have = 0
        while have < count:
            have += self.receive_into(view[have:], memoryview(b""))
        return bytes(data)

    def _patience(self, since: float) -> None:
        if self.stop.is_set():
            raise StepFailed(f"{self.what}: the copy was ended")
        if time.monotonic() - since > SILENCE_SECONDS:
            raise Unavailable(f"{self.what}: nothing moved for {SILENCE_SECONDS} s")

    def _lost(self) -> Unavailable:
        return Unavailable(f"{self.what}: the connection was lost; look at the server's log, then try again")
