"""What a database holds, read from its catalogs in one snapshot: tables, columns, sizes, what may travel how.

Invariant: a relation that holds rows of its own is in the list, so that a copy can refuse what no selection
names; what only pg_dump's schema carries (views, functions, types) is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from infra.postgres.selection import Selection, Selections, TableName
from infra.postgres.travel import Travel, travel
from policy.errors import Refused

LARGE_OBJECTS = TableName("pg_catalog", "pg_largeobject")
"""Large objects hold rows too; a selection of this name says whether they are taken."""

_TABLES = """
SELECT c.oid, n.nspname AS schema, c.relname AS table, c.relrowsecurity AS row_security,
       c.relpersistence = 'u' AS unlogged,
       pg_table_size(c.oid) AS bytes, pg_indexes_size(c.oid) AS index_bytes,
       greatest(c.reltuples, 0)::bigint AS rows,
       ARRAY(SELECT ARRAY[an.nspname::text, a.relname::text]
               FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS p (relid, depth)
               JOIN pg_class a ON a.oid = p.relid JOIN pg_namespace an ON an.oid = a.relnamespace
              WHERE c.relispartition AND p.relid <> c.oid ORDER BY p.depth) AS ancestors,
       ARRAY(SELECT DISTINCT coalesce(k.attname::text, '')
               FROM pg_partition_ancestors(c.oid) AS p (relid)
               JOIN pg_partitioned_table t ON t.partrelid = p.relid
               CROSS JOIN unnest(t.partattrs::int2[]) AS key (attnum)
               LEFT JOIN pg_attribute k ON k.attrelid = p.relid AND k.attnum = key.attnum AND key.attnum > 0
              WHERE c.relispartition) AS key_columns,
       e.extconfig IS NOT NULL AS extension, e.condition
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (
       SELECT coalesce(x.extconfig, '{}') AS extconfig,
              x.extcondition[array_position(x.extconfig, c.oid)] AS condition
         FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
          AND d.refclassid = 'pg_extension'::regclass) e ON true
 WHERE c.relkind = 'r' AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND (e.extconfig IS NULL OR c.oid = ANY (e.extconfig))
 ORDER BY n.nspname, c.relname
"""

_COLUMNS = """
SELECT a.attrelid AS relation, a.attname AS name, a.atttypid AS type,
       tn.nspname AS type_schema, t.typname AS type_name
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace tn ON tn.oid = t.typnamespace
 WHERE a.attrelid = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 ORDER BY a.attrelid, a.attnum
"""

_ANYTHING = """
WITH own AS (
    SELECT oid, nspname FROM pg_namespace
     WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
things (class, oid) AS (
    SELECT 'pg_namespace'::regclass, oid FROM own WHERE nspname <> 'public'
    UNION ALL SELECT 'pg_class'::regclass, c.oid FROM pg_class c JOIN own ON own.oid = relnamespace
    UNION ALL SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p JOIN own ON own.oid = pronamespace
    UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_type t JOIN own ON own.oid = typnamespace
    UNION ALL SELECT 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata)
SELECT NOT EXISTS (
    SELECT FROM things t WHERE NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = t.class AND d.objid = t.oid AND d.deptype IN ('e', 'i', 'a')
           AND d.refclassid IN ('pg_extension'::regclass, 'pg_class'::regclass, 'pg_type'::regclass)))
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column that is stored, not generated."""

    name: str
    type: sql.Identifier
    travel: Travel


@dataclass(frozen=True, kw_only=True)
class Table:
    """A relation that holds rows of its own: an ordinary table or a leaf partition.

    Attributes:
        bytes: stored size, TOAST included.
        ancestors: the partitioned tables above it, nearest first.
        key_columns: columns that decide which partition a row belongs to; '' stands for an expression.
        condition: for an extension's own table, which rows are the user's; None for other tables.
    """

    oid: int
    name: TableName
    columns: tuple[Column, ...]
    bytes: int
    index_bytes: int
    rows: int
    row_security: bool
    unlogged: bool
    ancestors: tuple[TableName, ...] = ()
    key_columns: frozenset[str] = frozenset()
    extension: bool = False
    condition: str | None = None

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted name."""
        return sql.Identifier(self.name.schema, self.name.table)

    def selection(self, selections: Selections) -> Selection | None:
        """Its own selection, or else that of the nearest partitioned table above it."""
        for name in (self.name, *self.ancestors):
            if name in selections:
                return selections[name]
        return None


@dataclass(frozen=True, kw_only=True)
class _TableRow:
    oid: int
    schema: str
    table: str
    row_security: bool
    unlogged: bool
    bytes: int
    index_bytes: int
    rows: int
    ancestors: list[list[str]]
    key_columns: list[str]
    extension: bool
    condition: str | None


@dataclass(frozen=True, kw_only=True)
class _ColumnRow:
    relation: int
    name: str
    type: int
    type_schema: str
    type_name: str


def tables(connection: psycopg.Connection) -> tuple[Table, ...]:
    """Every relation that holds rows, in the connection's snapshot."""
    with connection.cursor(row_factory=class_row(_TableRow)) as cursor:
        found = cursor.execute(_TABLES).fetchall()
    columns: dict[int, list[Column]] = {row.oid: [] for row in found}
    kinds = travel(connection)
    with connection.cursor(row_factory=class_row(_ColumnRow)) as cursor:
        for row in cursor.execute(_COLUMNS, [list(columns)]):
            kind = sql.Identifier(row.type_schema, row.type_name)
            columns[row.relation].append(Column(name=row.name, type=kind, travel=kinds[row.type]))
    return tuple(
        Table(
            oid=row.oid,
            name=TableName(row.schema, row.table),
            columns=tuple(columns[row.oid]),
            bytes=row.bytes,
            index_bytes=row.index_bytes,
            rows=row.rows,
            row_security=row.row_security,
            unlogged=row.unlogged,
            ancestors=tuple(TableName(schema, table) for schema, table in row.ancestors),
            key_columns=frozenset(row.key_columns),
            extension=row.extension,
            condition=row.condition or None,
        )
        for row in found
    )


def is_empty(connection: psycopg.Connection) -> bool:
    """Whether the database holds nothing of its own, as one that was just made: extensions do not count."""
    row = connection.execute(_ANYTHING).fetchone()
    return bool(row and row[0])


def large_objects(connection: psycopg.Connection) -> int:
    """How many large objects there are."""
    row = connection.execute("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata").fetchone()
    return int(row[0]) if row else 0


def covered(found: tuple[Table, ...], selections: Selections, *, large: int) -> Mapping[TableName, Selection]:
    """The selection of each table that holds rows.

    Raises:
        Refused: a table has no selection, or a selection masks a column that the table has not; all at once.
    """
    taken: dict[TableName, Selection] = {}
    findings: list[str] = []
    for table in found:
        selection = table.selection(selections)
        if selection is None:
            findings.append(
                f"table {table.name}: the protection policy does not name it; classify its columns first"
            )
            continue
        unknown = set(selection.columns) - {column.name for column in table.columns}
        if selection.rows and unknown:
            names = ", ".join(sorted(unknown))
            findings.append(f"table {table.name}: the policy masks {names}, which it does not store")
        taken[table.name] = selection
    if large:
        selection = selections.get(LARGE_OBJECTS)
        if selection is None:
            findings.append(
                f"{large} large objects: the protection policy does not name {LARGE_OBJECTS}; "
                "classify them first"
            )
        elif selection.columns:
            findings.append(f"{LARGE_OBJECTS}: large objects are taken or left, they cannot be masked")
        else:
            taken[LARGE_OBJECTS] = selection
    if findings:
        raise Refused(*findings)
    return taken
