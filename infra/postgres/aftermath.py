"""What was made from the rows of before, made anew after masking: proofs, views, statistics, large objects.

Invariant: afterwards no foreign key counts as proven that masking could have broken, and no materialised view
and no statistics hold a value of before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from infra.postgres.catalog import LARGE_OBJECTS, Table
from infra.postgres.selection import Selection, TableName
from policy.errors import StepFailed

_FOREIGN_KEYS = """
WITH masked AS (
    SELECT a.attrelid, a.attnum FROM unnest(%(tables)s::oid[], %(columns)s::text[]) AS m(number, name)
      JOIN pg_attribute a ON a.attrelid = m.number AND a.attname = m.name)
SELECT c.oid, n.nspname, t.relname, c.conname
  FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
 WHERE c.contype = 'f' AND c.convalidated AND t.relkind = 'r'
   AND (c.confrelid = ANY (%(fewer)s)
        OR EXISTS (SELECT FROM masked WHERE (attrelid = c.conrelid AND attnum = ANY (c.conkey))
                                         OR (attrelid = c.confrelid AND attnum = ANY (c.confkey))))
"""
"""Those that masking or leaving out rows could have broken; the others hold as they did in the source."""
_VIEWS = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'm' AND c.relispopulated ORDER BY c.oid
"""


def make_anew(
    opened: psycopg.Connection, work: Sequence[Table], taken: Mapping[TableName, Selection]
) -> None:
    """Prove the foreign keys again, and make views, statistics and what is kept of large objects anew.

    Args:
        opened: a superuser's session in the private cluster.
        work: the tables that were changed.
        taken: what of each table, and of the large objects, is taken.

    Raises:
        StepFailed: masking broke a foreign key; the message names it.
    """
    masked = [(table.oid, name) for table in work for name in taken[table.name].columns]
    told = {
        "tables": [number for number, _ in masked],
        "columns": [name for _, name in masked],
        "fewer": [
            table.oid for table in work if not taken[table.name].rows or taken[table.name].where is not None
        ],
    }
    for number, schema, table, name in opened.execute(_FOREIGN_KEYS, told).fetchall():
        opened.execute("UPDATE pg_constraint SET convalidated = false WHERE oid = %s", [number])
        try:
            opened.execute(
                sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(
                    sql.Identifier(schema, table), sql.Identifier(name)
                )
            )
        except psycopg.errors.ForeignKeyViolation:
            raise StepFailed(f"masking broke foreign key '{name}' of {schema}.{table}") from None
    large = taken.get(LARGE_OBJECTS)
    if large is not None and (not large.rows or large.where is not None):
        kept = large.where if large.rows and large.where is not None else sql.SQL("false")
        opened.execute(
            sql.SQL(
                "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid NOT IN "
                "(SELECT loid FROM pg_largeobject WHERE {})"
            ).format(kept)
        )
        opened.execute("VACUUM FULL pg_largeobject")
    for schema, name in opened.execute(_VIEWS).fetchall():
        opened.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(schema, name)))
        opened.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.Identifier(schema, name)))
    for catalog in ("pg_statistic", "pg_statistic_ext_data"):
        opened.execute(sql.SQL("VACUUM FULL {}").format(sql.Identifier("pg_catalog", catalog)))
