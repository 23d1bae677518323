"""A builder's claim on a customer's golden images on one server: taken, renewed, proven, ended.

Invariant: once another builder took over, `prove` raises and stays raising; however building ends, the ledger
says how, unless the builder was killed: then the next one says that it was lost.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.ledger import goldens
from infra.ledger.goldens import BuildOutcome
from policy.errors import Busy, FreshetError, Unavailable
from policy.estate import Estate
from policy.names import CustomerName, ServerName
from tasks.heartbeat import Heartbeat
from tasks.world import World

log = logging.getLogger("freshet.golden")

FOLDER = "golden-"
"""How a builder's folder is called; the number of its build follows."""


class Claim:
    """One build; satisfies `tasks.pair.Hand`.

    Args:
        world: the ledger and the settings.
        estate: as it was when the build began.
        customer: whose images.
        server: where they are kept.
        speak: where `say` goes.

    Raises:
        Busy: another builder is at it.
        Unavailable: the ledger does not answer.
    """

    def __init__(
        self,
        world: World,
        estate: Estate,
        customer: CustomerName,
        server: ServerName,
        speak: Callable[[str], None],
    ) -> None:
        self.world = world
        self.estate = estate
        self.customer = customer
        self.server = server
        self.settings = world.settings
        self.secrets = world.secrets
        self._speak = speak
        self._lost = threading.Event()
        self.facts: dict[str, object] = {}
        with world.ledger.transaction() as connection:
            self.number, self.lost = goldens.begin(
                connection,
                customer=customer,
                server=server,
                holder=f"{socket.gethostname()}:{os.getpid()}",
                now=world.clock.now(),
                lease_seconds=world.settings.lease_seconds,
            )
            self.ledger = goldens.ledger_identity(connection)
        self.scratch: Path = (world.settings.run_dir / f"{FOLDER}{self.number}").resolve()
        self._heart = Heartbeat(
            self.run,
            lease_seconds=world.settings.lease_seconds,
            renew=self.prove,
            lost=self._lost,
            missed=self._missed,
        )

    @property
    def run(self) -> str:
        """Whose sessions these are."""
        return f"{FOLDER}{self.number}"

    def __enter__(self) -> Self:
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heart.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)
        outcome = BuildOutcome.BUILT if error is None else BuildOutcome.FAILED
        try:
            with self.world.ledger.transaction() as connection:
                goldens.end(
                    connection,
                    self.number,
                    outcome,
                    now=self.world.clock.now(),
                    reason=_words(error),
                    facts=self.facts,
                )
        except Unavailable as away:
            # Not renewed any more, it counts as lost; what it built says itself what it is.
            log.warning("golden build %d: %s", self.number, away, extra={"action": "golden_end"})

    def prove(self) -> None:
        """Prove in the ledger that this builder still holds the claim; before every mutation.

        Raises:
            Busy: another builder took over; touch nothing.
            Unavailable: the ledger does not answer; begin nothing new.
        """
        if self._lost.is_set():
            raise Busy(
                f"golden build {self.number}: another builder took over; this one touches nothing more"
            )
        with self.world.ledger.transaction() as connection:
            try:
                goldens.prove(connection, self.number)
            except Busy:
                self._lost.set()
                raise

    def say(self, text: str) -> None:
        """Tell whoever watches what is going on."""
        self._speak(text)

    def _missed(self, error: Busy | Unavailable) -> None:
        log.warning("golden build %d: %s", self.number, error, extra={"action": "heartbeat"})


def _words(error: BaseException | None) -> str:
    if error is None:
        return ""
    return str(error) if isinstance(error, FreshetError) else f"an unexpected {type(error).__name__}"
