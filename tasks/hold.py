"""A worker's hold on a run: the lease, its heartbeat, and the proof before every mutation.

Invariant: once the epoch was taken over, `prove` raises and stays raising; a worker that cannot reach the
ledger begins nothing new.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from infra.clock import Clock
from infra.failpoints import Moment, failpoint
from infra.ledger import lease
from infra.ledger.connection import Connection
from infra.redaction import redact
from infra.secrets import SecretFiles
from infra.settings import Settings
from policy.errors import Busy, Unavailable
from policy.estate import Estate
from policy.journal import Entry
from policy.names import RunId
from policy.request import Request
from tasks.heartbeat import Heartbeat
from tasks.world import World

Result = TypeVar("Result")

log = logging.getLogger("freshet.run")

LEDGER_PATIENCE = 60.0
"""Seconds for which a worker waits for a ledger that went away, before it leaves the run to another."""


class Hold:
    """What a step works with (`tasks.step.Work`), held from claim to conclusion.

    Args:
        world: the ledger and the settings.
        estate: as it was when the run was claimed.
        request: the request that is carried out.
        run: its run.
        webapp: whose lease is held.
        epoch: as the ledger gave it.
        speak: where `say` goes.
    """

    def __init__(
        self,
        *,
        world: World,
        estate: Estate,
        request: Request,
        run: RunId,
        webapp: str,
        epoch: int,
        speak: Callable[[str, float | None, float | None], None],
    ) -> None:
        self.world = world
        self.estate = estate
        self.request = request
        self.run = run
        self.webapp = webapp
        self.epoch = epoch
        self.settings: Settings = world.settings
        self.secrets: SecretFiles = world.secrets
        self.clock: Clock = world.clock
        self.scratch: Path = (world.settings.run_dir / run).resolve()
        self._speak = speak
        self._journal: dict[str, Entry] = {}
        self._point = ""
        self._middles = 0
        self._taken_over = threading.Event()
        self._heart = Heartbeat(
            f"lease-{run}",
            lease_seconds=world.settings.lease_seconds,
            renew=self._keep,
            lost=self._taken_over,
            missed=self._missed,
        )

    def __enter__(self) -> Self:
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heart.stop()

    def _keep(self) -> None:
        with self.world.ledger.transaction() as connection:
            self._renew(connection)

    def _missed(self, error: Busy | Unavailable) -> None:
        log.warning("heartbeat of %s: %s", self.run, error, extra={"action": "heartbeat", "run": self.run})

    def _renew(self, connection: Connection) -> None:
        """Prove and renew the lease; a lock that is held for too long says nothing about the epoch."""
        try:
            lease.prove(connection, webapp=self.webapp, run=self.run, epoch=self.epoch)
        except Busy:
            self._taken_over.set()
            raise

    @contextmanager
    def proven(self) -> Iterator[Connection]:
        """A ledger transaction that begins with the proof of the epoch; waits a while for an absent ledger.

        Raises:
            Busy: another worker took the run over.
            Unavailable: the ledger stayed away for `LEDGER_PATIENCE`.
        """
        with ExitStack() as stack:
            yield self._enter(stack)

    def _enter(self, stack: ExitStack) -> Connection:
        deadline = time.monotonic() + LEDGER_PATIENCE
        while True:
            if self._taken_over.is_set():
                raise Busy(f"run {self.run}: another worker took over; this one touches nothing more")
            try:
                with ExitStack() as attempt:
                    connection = attempt.enter_context(self.world.ledger.transaction())
                    self._renew(connection)
                    stack.enter_context(attempt.pop_all())
                    return connection
            except (Busy, Unavailable):
                if self._taken_over.is_set() or time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def record(self, write: Callable[[Connection], Result]) -> Result:
        """Write to the ledger under the proof; again, when the ledger went away before it had committed.

        Args:
            write: may be called several times, and may have been committed the first time.

        Raises:
            Busy: another worker took the run over.
            Unavailable: the ledger stayed away for `LEDGER_PATIENCE`.
        """
        deadline = time.monotonic() + LEDGER_PATIENCE
        while True:
            try:
                with self.proven() as connection:
                    result = write(connection)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return result

    def prove(self) -> None:
        """Prove in the ledger that this worker still holds the run; before every mutation.

        Raises:
            Busy: another worker took the run over; touch nothing.
            Unavailable: the ledger does not answer; begin nothing new.
        """
        with self.proven():
            pass

    def say(self, text: str, *, done: float | None = None, total: float | None = None) -> None:
        """Tell whoever watches what is going on; with `done` of `total` it shows as progress."""
        self._speak(redact(text), done, total)

    def remember(self, journal: Sequence[Entry]) -> None:
        """Take note of the journal as it was just read."""
        self._journal = {entry.step: entry for entry in journal}

    def fact(self, step: str, key: str) -> object:
        """What the journal recorded under `key` when `step` was done, or None. A hint, never the truth."""
        entry = self._journal.get(step)
        return None if entry is None else entry.facts.get(key)

    def at(self, point: str) -> None:
        """The step that now acts is `point`, as `<kind>.<step>`."""
        self._point, self._middles = point, 0

    def mid(self) -> None:
        """The failpoint in the middle of the present step's act; the second one is called `mid.2`."""
        self._middles += 1
        number = "" if self._middles == 1 else f".{self._middles}"
        failpoint(f"{self._point}.{Moment.MID}{number}")
