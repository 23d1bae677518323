"""One word for a whole schema: equal words mean that the same copy would come out.

Invariant: everything that decides what arrives or how it is masked changes the word: tables, columns and
their types, constraints, indexes, functions, triggers, policies, views. Rows and sizes do not.
"""

from __future__ import annotations

import psycopg

_SCHEMA = """
WITH own AS (
    SELECT oid, nspname FROM pg_namespace
     WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
parts (part) AS (
    SELECT concat_ws('|', 'relation', nspname, relname, relkind, relpersistence, relrowsecurity,
                     relforcerowsecurity, reloptions, pg_get_expr(relpartbound, c.oid),
                     pg_get_partkeydef(c.oid),
                     CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END)
      FROM pg_class c JOIN own ON own.oid = relnamespace WHERE relpersistence <> 't' AND relkind <> 't'
    UNION ALL
    SELECT concat_ws('|', 'column', nspname, relname, attnum, attname, format_type(atttypid, atttypmod),
                     attnotnull, attidentity, attgenerated, attcollation::regcollation,
                     pg_get_expr(adbin, adrelid))
      FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN own ON own.oid = relnamespace
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attnum > 0 AND NOT attisdropped AND relpersistence <> 't'
       AND relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
    UNION ALL
    SELECT concat_ws('|', 'constraint', nspname, conrelid::regclass, conname, pg_get_constraintdef(c.oid))
      FROM pg_constraint c JOIN own ON own.oid = connamespace
    UNION ALL
    SELECT concat_ws('|', 'index', nspname, pg_get_indexdef(indexrelid))
      FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN own ON own.oid = relnamespace
    UNION ALL
    SELECT concat_ws('|', 'function', nspname, p.oid::regprocedure,
                     CASE WHEN prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) END)
      FROM pg_proc p JOIN own ON own.oid = pronamespace
    UNION ALL
    SELECT concat_ws('|', 'trigger', nspname, pg_get_triggerdef(t.oid), tgenabled)
      FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid JOIN own ON own.oid = relnamespace
     WHERE NOT tgisinternal
    UNION ALL
    SELECT concat_ws('|', 'rule', nspname, pg_get_ruledef(r.oid), ev_enabled)
      FROM pg_rewrite r JOIN pg_class c ON c.oid = ev_class JOIN own ON own.oid = relnamespace
    UNION ALL
    SELECT concat_ws('|', 'policy', nspname, relname, polname, polcmd, polpermissive,
                     pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
      FROM pg_policy p JOIN pg_class c ON c.oid = polrelid JOIN own ON own.oid = relnamespace
    UNION ALL
    SELECT concat_ws('|', 'type', nspname, typname, typtype, format_type(typbasetype, typtypmod), typnotnull,
                     (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder)
                        FROM pg_enum WHERE enumtypid = t.oid))
      FROM pg_type t JOIN own ON own.oid = typnamespace WHERE typelem = 0
    UNION ALL
    SELECT concat_ws('|', 'extension', extname, extversion) FROM pg_extension)
SELECT encode(sha256(convert_to(string_agg(part, chr(10) ORDER BY part COLLATE "C"), 'UTF8')), 'hex')
  FROM parts
"""


def fingerprint(connection: psycopg.Connection) -> str:
    """The word for the schema that `connection` sees; names are written out, whatever its search path."""
    with connection.transaction():
        connection.execute("SET LOCAL search_path = ''")
        row = connection.execute(_SCHEMA).fetchone()
    return str(row[0]) if row else ""
