"""How the ledger is reached: one short transaction at a time, each on a connection of its own.

Invariant: no state is kept between transactions, so a ledger that was away and came back needs nothing from
us; a ledger that does not answer is `Unavailable` within seconds, never a hang.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
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
        try:
            with psycopg.connect(self._conninfo, row_factory=dict_row) as connection:
                yield connection
        except psycopg.errors.LockNotAvailable as error:
            raise Busy("the ledger: another transaction holds what is needed; try again") from error
        except psycopg.OperationalError as error:
            said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise Unavailable(f"the ledger does not answer ({said}); nothing new is begun") from error
