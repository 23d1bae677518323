"""What the demo proves about data: digests before and after, masks, schema versions, canaries.

Invariant: only reads, with the same roles that the pipeline has.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier

from infra.postgres.digest import digests
from infra.postgres.selection import TableName
from infra.postgres.session import client_environment, connect, passfile
from infra.stack.cluster import PostgresVersion, bin_dir
from infra.stack.demo_records import canary
from policy.estate import Estate, Site
from policy.names import CustomerName, SiteId
from tasks.world import World

RUN = "demo"

_COUNT = "select count(*) from objects where resource_name = 'record' and not deleted"
_CANARIES = "select count(*) from {} as t where t::text ~* %s"
_SCHEMA = "select max(value::int)::text from metadata where name = 'storage_schema_version'"
_RECORDS = """
select md5(string_agg(id || ' ' || parent_id || ' ' || data::text, e'\\n' order by parent_id, id))
from objects where resource_name = 'record' and not deleted
"""


@dataclass(frozen=True, kw_only=True)
class SiteState:
    """What is in one site's database.

    Attributes:
        records: how many records there are.
        record_digest: of all records' contents.
        canaries: how many rows of any table hold a token that only Production's people have.
        schema_version: the application's own storage schema.
        schema_digest: of the database's whole structure.
        tables: a digest for each table.
    """

    records: int
    record_digest: str
    canaries: int
    schema_version: str
    schema_digest: str
    tables: Mapping[str, str]


def states(world: World, estate: Estate) -> dict[SiteId, SiteState]:
    """The state of every site of the estate."""
    return {
        site.id: state(world, estate, site)
        for customer in estate.customers.values()
        for site in customer.sites.values()
    }


def state(world: World, estate: Estate, site: Site) -> SiteState:
    """The state of one site."""
    server = estate.servers[site.server]
    with connect(server, site.database, server.owner, world.secrets, run=RUN, autocommit=True) as session:
        found = digests(session)
        return SiteState(
            records=int(_value(session, _COUNT)),
            record_digest=_value(session, _RECORDS),
            canaries=_canaries(session, site.id.customer, found),
            schema_version=_value(session, _SCHEMA),
            schema_digest=_structure(world, estate, site),
            tables={str(table): digest for table, digest in found.items()},
        )


def _value(session: psycopg.Connection, query: str) -> str:
    row = session.cursor(row_factory=tuple_row).execute(query.encode()).fetchone()
    return "" if row is None else str(row[0])


def _canaries(session: psycopg.Connection, customer: CustomerName, tables: Iterable[TableName]) -> int:
    # The token is followed by eight hexadecimal digits, so that a longer customer's name is another token.
    pattern = f"{canary(customer)}[0-9a-f]{{8}}"
    count = 0
    for table in tables:
        query = SQL(_CANARIES).format(Identifier(table.schema, table.table))
        row = session.cursor(row_factory=tuple_row).execute(query, [pattern]).fetchone()
        count += 0 if row is None else int(row[0])
    return count


def _structure(world: World, estate: Estate, site: Site) -> str:
    server = estate.servers[site.server]
    scratch = (world.settings.run_dir / RUN).resolve()
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with passfile((server, server.owner), secrets=world.secrets, scratch=scratch) as secret:
        done = subprocess.run(
            [str(bin_dir(PostgresVersion.V18) / "pg_dump"), "--schema-only", "--restrict-key=demo"],
            env=client_environment(server, server.owner, database=site.database, passfile=secret, run=RUN),
            capture_output=True,
            check=True,
        )
    return hashlib.sha256(done.stdout).hexdigest()
