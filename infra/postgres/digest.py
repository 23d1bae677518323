"""Digests of a database's tables: equal digests mean equal rows, whatever their order on disk.

Invariant: only reads; one repeatable-read transaction, so all digests are of one moment.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg.sql import SQL, Identifier

from infra.postgres.selection import TableName

_TABLES = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 1, 2
"""

_DIGEST = """
select count(*), coalesce(sum(('x' || left(md5(t::text), 15))::bit(60)::bigint), 0)::text from {} as t
"""


def digests(connection: psycopg.Connection[tuple[object, ...]]) -> Mapping[TableName, str]:
    """Row count and an order-free digest of every ordinary table.

    Args:
        connection: a session that may read every table, outside a transaction.
    """
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        tables = [TableName(str(schema), str(table)) for schema, table in connection.execute(_TABLES)]
        found = {}
        for table in tables:
            row = connection.execute(SQL(_DIGEST).format(Identifier(table.schema, table.table))).fetchone()
            if row is not None:
                found[table] = f"{row[0]}:{row[1]}"
    return found
