"""How the ledger is reached: one short transaction at a time, each on a connection of its own.

Invariant: no state is kept between transactions, so a ledger that was away and came back needs nothing from
us; a ledger that does not answer is `Unavailable` within seconds, never a hang. Where many transactions
follow one another (`Ledger.kept`) they share a connection, and nothing but the connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from policy.errors import Busy, Unavailable

Row = dict[str, object]
Connection = psycopg.Connection[Row]

_BOUNDS = (
    "connect_timeout=5 keepalives_idle=5 keepalives_interval=2 keepalives_count=3 tcp_user_timeout=10000"
    " application_name=freshet-ledger options='-c statement_timeout=15s -c lock_timeout=10s"
    " -c idle_in_transaction_session_timeout=15s'"
)


class Ledger:
    """The ledger's database.

    Args:
        conninfo: libpq connection string without a password.
        passfile: libpq password file, or None.
    """

    def __init__(self, conninfo: str, passfile: Path | None = None) -> None:
        self._conninfo = make_conninfo(
            f"{conninfo} {_BOUNDS}", passfile=None if passfile is None else str(passfile.resolve())
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction: committed at the end of the block, rolled back when the block raises.

        Raises:
            Unavailable: the ledger does not answer or went away; look whether a lost commit took place.
            Busy: another transaction holds a lock for too long.
        """
        with _named(), psycopg.connect(self._conninfo, row_factory=dict_row) as connection:
            yield connection

    @contextmanager
    def kept(self) -> Iterator[Ledger]:
        """The ledger on one connection, for a row of short transactions; each is still one of its own.

        Raises:
            Unavailable: the ledger does not answer.
        """
        with _named():
            connection = psycopg.connect(self._conninfo, row_factory=dict_row, autocommit=True)
        with connection:
            yield _KeptLedger(connection)


class _KeptLedger(Ledger):
    """A ledger whose transactions follow one another on one connection; for one thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction, as `Ledger.transaction`."""
        if self._connection.info.transaction_status is TransactionStatus.INTRANS:
            raise RuntimeError("a transaction within a transaction would be committed with the outer one")
        with _named(), self._connection.transaction():
            yield self._connection

    @contextmanager
    def kept(self) -> Iterator[Ledger]:
        """This one."""
        yield self


@contextmanager
def _named() -> Iterator[None]:
    """Name what the ledger's server or the way to it did."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise Busy("the ledger: another transaction holds what is needed; try again") from error
    except psycopg.OperationalError as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Unavailable(f"the ledger does not answer ({said}); nothing new is begun") from error
