"""Does many pieces of work with a few threads, the longest path first.

Invariant: the first failure ends everything, no thread outlives `run`, and `watch` is only ever called by the
thread that called `run`.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from infra.postgres.progress import Meter, Watch

TICK_SECONDS = 0.5
Hands = TypeVar("Hands")
Needed_contra = TypeVar("Needed_contra", contravariant=True)


@dataclass(frozen=True, kw_only=True)
class Piece(Generic[Needed_contra]):
    """A piece of work.

    Attributes:
        path: the weight of this piece and of all that can only follow it; the heaviest goes first.
        act: does it with what a thread holds, and returns the pieces that may follow.
    """

    path: int
    act: Callable[[Needed_contra], Iterable[Piece[Needed_contra]]]


class Countdown:
    """Tells the last of several pieces that it is the last, whichever thread that is."""

    def __init__(self, pieces: int) -> None:
        self._left = pieces
        self._changed = threading.Lock()

    def is_last(self) -> bool:
        """Count one piece as done; whether it was the last."""
        with self._changed:
            self._left -= 1
            return self._left == 0


class Pool(Generic[Hands]):
    """Threads that each hold their own sessions.

    Args:
        threads: how many.
        hands: makes what a thread works with.
        let_go: closes it.
        stop: set on the first failure; pieces look at it while they work.
    """

    def __init__(
        self,
        *,
        threads: int,
        hands: Callable[[], Hands],
        let_go: Callable[[Hands], None],
        stop: threading.Event,
    ) -> None:
        self._threads = threads
        self._hands = hands
        self._let_go = let_go
        self._stop = stop
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, Piece[Hands]]] = []
        self._open = 0
        self._failure: BaseException | None = None

    def run(self, pieces: Iterable[Piece[Hands]], *, meter: Meter, watch: Watch) -> None:
        """Do `pieces` and all that follows them.

        Raises:
            Exception: the first failure of a piece, or what `watch` raised.
        """
        self._add(pieces)
        workers = [
            threading.Thread(target=self._work, name=f"copy-{number}", daemon=True)
            for number in range(self._threads)
        ]
        for worker in workers:
            worker.start()
        try:
            while any(worker.is_alive() for worker in workers):
                with self._changed:
                    self._changed.wait_for(lambda: self._open == 0 or self._failure is not None, TICK_SECONDS)
                if self._failure is not None:
                    break
                watch(meter.look())
                if self._open == 0:
                    break
        finally:
            if self._failure is not None or self._open:
                self._stop.set()
            with self._changed:
                self._changed.notify_all()
            for worker in workers:
                worker.join()
        if self._failure is not None:
            raise self._failure

    def _add(self, pieces: Iterable[Piece[Hands]]) -> None:
        with self._changed:
            for piece in pieces:
                heapq.heappush(self._waiting, (-piece.path, next(self._order), piece))
                self._open += 1
            self._changed.notify_all()

    def _next(self) -> Piece[Hands] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._open == 0 or self._stop.is_set())
            if self._stop.is_set() or not self._waiting:
                return None
            return heapq.heappop(self._waiting)[2]

    def _work(self) -> None:
        held: list[Hands] = []
        try:
            while (piece := self._next()) is not None:
                if not held:
                    held.append(self._hands())
                self._add(piece.act(held[0]))
                with self._changed:
                    self._open -= 1
                    self._changed.notify_all()
        except BaseException as failure:  # noqa: BLE001 - kept and raised again by run
            with self._changed:
                if self._failure is None:
                    self._failure = failure
                self._stop.set()
                self._changed.notify_all()
        finally:
            for hands in held:
                self._let_go(hands)
