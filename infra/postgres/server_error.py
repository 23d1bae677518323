"""What a server's error means for the caller, without the server's words: they may quote a row.

Invariant: no text that a server wrote about an error passes through here; its kind and its constraint do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import psycopg.errors

from policy.errors import FreshetError, StepFailed, Unavailable

_GONE = ("08", "57P", "53300", "40001")
"""Kinds that pass: connection, shutdown, no more sessions, a replica that had to go on with its recovery."""


@dataclass(frozen=True)
class ServerError:
    """An error as a server answered it."""

    sqlstate: str
    constraint: str | None = None

    def __str__(self) -> str:
        try:
            name = psycopg.errors.lookup(self.sqlstate).__name__
        except KeyError:
            name = "an error"
        about = f" of constraint '{self.constraint}'" if self.constraint else ""
        return f"{name}{about}, SQLSTATE {self.sqlstate}"

    @property
    def unavailable(self) -> bool:
        """Whether the session went away, rather than the statement being wrong."""
        return self.sqlstate.startswith(_GONE)

    def raised(self, what: str) -> FreshetError:
        """The error to raise.

        Args:
            what: what was being done, for the message.
        """
        if self.unavailable:
            return Unavailable(f"{what}: the session was lost ({self}); try again")
        if self.sqlstate == psycopg.errors.DiskFull.sqlstate:
            return StepFailed(
                f"{what}: the disk of the database server is full; make room there, then ask again"
            )
        return StepFailed(f"{what}: the server refused it ({self})")


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Turn the driver's errors inside the block into ours.

    Args:
        what: what is being done, for the message.

    Raises:
        StepFailed: a server refused a statement.
        Unavailable: a session was lost.
    """
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate is not None:
            raise ServerError(error.sqlstate, error.diag.constraint_name).raised(what) from None
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            raise Unavailable(
                f"{what}: the connection was lost; look at the server's log, then try again"
            ) from None
        raise StepFailed(f"{what}: {type(error).__name__}") from None
