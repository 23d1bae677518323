"""Sequences' values: pg_dump's schema makes the sequences, this brings where they stand.

Invariant: a copied sequence never stands before a value that the copied rows use, because its value is read
after the snapshot was taken and sequences only go on.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

_SEQUENCES = """
SELECT n.nspname, c.relname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (
       SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
          AND d.refclassid = 'pg_extension'::regclass)
 ORDER BY n.nspname, c.relname
"""
_SET = "SELECT setval(format('%%I.%%I', %s::text, %s::text)::regclass, %s, %s)"
_AT_ONCE = 200


def bring_sequences(source: psycopg.Connection, target: psycopg.Connection) -> int:
    """Set each of the target's sequences to where the source's stands; how many there were."""
    names = source.execute(_SEQUENCES).fetchall()
    for first in range(0, len(names), _AT_ONCE):
        looks = [
            sql.SQL("SELECT {schema}, {name}, last_value, is_called FROM {sequence}").format(
                schema=sql.Literal(schema), name=sql.Literal(name), sequence=sql.Identifier(schema, name)
            )
            for schema, name in names[first : first + _AT_ONCE]
        ]
        standing = source.execute(sql.SQL(" UNION ALL ").join(looks)).fetchall()
        with target.cursor() as cursor:
            cursor.executemany(
                "SELECT setval(format('%%I.%%I', %s::text, %s::text)::regclass, %s, %s)", standing
            )
    target.commit()
    return len(names)
