"""What every snapshot can do, whatever it is made of: the one interface of the ways back.

Invariant: a snapshot that counts as taken is whole and was proven readable; every function may be called by
any worker, again, and after a crash anywhere in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import psycopg

Admin = psycopg.Connection[Any]
Sessions = Callable[[str], AbstractContextManager[Admin]]
"""Opens an autocommit session of the databases' owner in a database of the server."""


class Kind(StrEnum):
    """How a snapshot is taken; the order is that of preference."""

    TEMPLATE = "template"
    PHYSICAL = "physical"
    RDS = "rds"
    DUMP = "dump"


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is to be kept.

    Attributes:
        size: the bytes of all databases of the web application on the server.
        room: the bytes that the server can spare; None means enough.
        wanted: the kind that the estate asks for; None leaves it to us.
    """

    size: int
    room: int | None = None
    wanted: Kind | None = None

    @property
    def too_large(self) -> str:
        """Why a copy beside the databases cannot be held; empty when it can."""
        if self.room is None or self.size <= self.room:
            return ""
        return f"it has {self.size / 1e9:.1f} GB, and the server can spare {self.room / 1e9:.1f} GB"


class Snapshot(Protocol):
    """One snapshot of one run: of a database, or of a whole server."""

    @property
    def kind(self) -> Kind:
        """What it is made of."""
        ...

    def why_not(self, demand: Demand) -> str:
        """Why it cannot be taken here, with the remedy where there is one; empty when it can.

        Raises:
            Unavailable: what had to be asked does not answer.
        """
        ...

    def is_taken(self) -> bool:
        """Whether it is there, whole and proven."""
        ...

    def take(self, *, at: datetime) -> int:
        """Take it after the stop, unless it is there, and prove it; what was half taken is taken anew.

        Returns:
            Its bytes.

        Raises:
            StepFailed: it cannot be taken, or is not readable.
            Unavailable: try again.
        """
        ...

    def prove(self) -> None:
        """Read it once more.

        Raises:
            StepFailed: it is not what was taken.
        """
        ...

    def restore(self, *, at: datetime) -> bool:
        """Put it into place; what the run made is kept as evidence. False when it is in place already.

        Raises:
            NeedsHuman: it cannot be put into place; everything is kept.
            Unavailable: try again.
        """
        ...

    def is_restored(self) -> bool:
        """Whether it stands in place, with what the run made beside it."""
        ...

    def drop(self) -> bool:
        """Remove it, in whatever state it is; whether there was one."""
        ...


class WholeServer(Snapshot, Protocol):
    """A snapshot that holds every database of a server, so that the server itself goes back with it."""

    def bring_up(self) -> None:
        """Let the server run, if a worker died while it was stopped for the snapshot.

        Raises:
            Unavailable: it does not come up.
        """
        ...

    def clear(self) -> Sequence[str]:
        """Remove what a run that has ended left, evidence included; one line for each thing done or left."""
        ...
