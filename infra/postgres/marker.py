"""The marker inside each hosted database: what this database is, told by the database itself (fence two).

Invariant: one row in `freshet.marker`, in a schema of its own that no application's migration touches and no
copy carries; a database without a readable marker is refused as a source and as a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from policy.errors import Refused
from policy.names import CustomerName, Environment, SiteId
from policy.protection import OWN_SCHEMA

# The schema's name is policy.protection.OWN_SCHEMA; statements are written out so that they can be read.
CREATE = """\
CREATE SCHEMA IF NOT EXISTS freshet;
REVOKE ALL ON SCHEMA freshet FROM PUBLIC;
CREATE TABLE IF NOT EXISTS freshet.marker (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    environment text NOT NULL,
    customer text NOT NULL,
    source text NOT NULL,
    data_time timestamptz,
    run text,
    epoch bigint NOT NULL DEFAULT 0,
    ledger text NOT NULL DEFAULT '',
    written_at timestamptz NOT NULL DEFAULT now()
);
"""

_WRITE = """
INSERT INTO freshet.marker AS m (one, environment, customer, source, data_time, run, epoch, ledger)
VALUES (true, %(environment)s, %(customer)s, %(source)s, %(data_time)s, %(run)s, %(epoch)s, %(ledger)s)
ON CONFLICT (one) DO UPDATE SET environment = excluded.environment, customer = excluded.customer,
    source = excluded.source, data_time = excluded.data_time, run = excluded.run, epoch = excluded.epoch,
    ledger = excluded.ledger, written_at = now()
"""

_READ = "SELECT environment, customer, source, data_time, run, epoch, ledger FROM freshet.marker"


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What a database says of itself.

    Attributes:
        source: where its data came from: `own` for data that began here, otherwise the source's site.
        data_time: the instant of the source that the data show; None for own data.
        run: the run that built it, or None.
        epoch: of the worker that built it.
        ledger: whose run that was, when several installations share a server.
    """

    environment: Environment
    customer: CustomerName
    source: str = "own"
    data_time: datetime | None = None
    run: str | None = None
    epoch: int = 0
    ledger: str = ""

    @property
    def site(self) -> SiteId:
        """The site whose database this is."""
        return SiteId(self.customer, self.environment)


def read_marker(connection: psycopg.Connection[Any]) -> Marker | None:
    """The marker of the database of `connection`; None when it has none.

    Raises:
        Refused: there is one and it makes no sense, or this role may not read it.
    """
    name = connection.info.dbname
    try:
        with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            if cursor.execute("SELECT to_regclass('freshet.marker') AS found").fetchone() == {"found": None}:
                return None
            row = cursor.execute(_READ).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        raise Refused(
            f"database '{name}': '{connection.info.user}' may not read its marker; "
            "run the script of `freshet estate roles --sql`"
        ) from None
    except psycopg.errors.UndefinedColumn:
        raise Refused(
            f"database '{name}': schema {OWN_SCHEMA} holds something else than our marker"
        ) from None
    if row is None:
        return None
    if row["environment"] not in set(Environment):
        raise Refused(f"database '{name}': its marker names an unknown environment; mark it anew")
    return Marker(
        environment=Environment(row["environment"]),
        customer=CustomerName(row["customer"]),
        source=row["source"],
        data_time=row["data_time"],
        run=row["run"],
        epoch=row["epoch"],
        ledger=row["ledger"],
    )


def write_marker(connection: psycopg.Connection[Any], marker: Marker) -> None:
    """Make or replace the marker, in one transaction."""
    with connection.transaction():
        connection.execute("SET LOCAL client_min_messages = warning")
        connection.execute(CREATE)
        connection.execute(
            _WRITE,
            {
                "environment": marker.environment.value,
                "customer": marker.customer,
                "source": marker.source,
                "data_time": marker.data_time,
                "run": marker.run,
                "epoch": marker.epoch,
                "ledger": marker.ledger,
            },
        )
