"""What a live database consists of: tables that hold rows, columns and types, what is unique, what refers.

Invariant: every place of a database that holds rows is in here, or is one that no copy carries (system
schemas, an extension's own installation, materialised views, which are computed anew).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import Identifier

from infra.postgres.selection import TableName
from policy.masks import Family

_TABLES = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text AS kind, c.relispartition AS leaf,
       rn.nspname AS root_schema, rc.relname AS root_table, c.reltuples::bigint AS estimate
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL pg_catalog.pg_partition_root(c.oid) AS root(oid) ON c.relispartition
LEFT JOIN pg_catalog.pg_class rc ON rc.oid = root.oid
LEFT JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        AND d.refclassid = 'pg_catalog.pg_extension'::regclass
        AND NOT (c.oid = ANY (coalesce(e.extconfig, '{}'))))
ORDER BY n.nspname, c.relname
"""

_COLUMNS = """
SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,
       a.attnotnull OR coalesce(t.typnotnull, false) AS required, a.attgenerated::text <> '' AS generated,
       b.typname AS base, b.typcategory::text AS category, bn.nspname AS base_schema,
       CASE WHEN b.typname IN ('varchar', 'bpchar')
            THEN nullif(CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END, -1) - 4 END AS length
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN LATERAL (
    WITH RECURSIVE down AS (
        SELECT t.oid, t.typtype, t.typbasetype
        UNION ALL
        SELECT u.oid, u.typtype, u.typbasetype FROM down JOIN pg_catalog.pg_type u ON u.oid = down.typbasetype
        WHERE down.typtype = 'd')
    SELECT oid FROM down WHERE typtype <> 'd') AS base ON true
JOIN pg_catalog.pg_type b ON b.oid = base.oid
JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace
WHERE a.attrelid = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

_UNIQUE = """
SELECT DISTINCT i.indrelid, a.attname
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0
WHERE i.indrelid = ANY (%s) AND (i.indisunique OR i.indisexclusion) AND (
    a.attnum = ANY (i.indkey) OR EXISTS (
        SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid
          AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = i.indrelid
          AND d.refobjsubid = a.attnum))
"""

_FOREIGN_KEYS = """
SELECT k.conname, k.conrelid, k.confrelid,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(num, n)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY n)
           AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(num, n)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY n)
           AS refers
FROM pg_catalog.pg_constraint k
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY (%s)
ORDER BY k.conrelid, k.conname
"""

_FAMILIES = {
    "text": Family.TEXT, "varchar": Family.TEXT, "bpchar": Family.TEXT, "citext": Family.TEXT,
    "name": Family.TEXT, "date": Family.DATE, "timestamp": Family.TIMESTAMP, "timestamptz": Family.TIMESTAMP,
    "int2": Family.INTEGER, "int4": Family.INTEGER, "int8": Family.INTEGER, "numeric": Family.NUMBER,
    "float4": Family.NUMBER, "float8": Family.NUMBER, "money": Family.OTHER, "uuid": Family.UUID,
    "inet": Family.NETWORK, "cidr": Family.OTHER, "json": Family.JSON, "jsonb": Family.JSON,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        type_name: the type as SQL writes it, quoted where needed.
        base: the plain name of the type under any domains.
        length: the most characters it holds, or None.
        required: NULL is not allowed.
        generated: computed from other columns, never copied.
        unique: part of a unique or exclusion constraint or index.
    """

    name: str
    type_name: str
    base: str
    family: Family
    length: int | None
    required: bool
    generated: bool
    unique: bool


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """A reference from one table to another; partitions stand under their partitioned table."""

    name: str
    child: TableName
    columns: tuple[str, ...]
    parent: TableName
    refers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, or a partitioned table as a whole.

    Attributes:
        leaves: the partitions that hold the rows (and those between), when it is partitioned.
        estimate: rows as the planner thinks, below 0 when never analysed.
    """

    name: TableName
    columns: Mapping[str, Column]
    leaves: tuple[TableName, ...] = ()
    estimate: int = -1


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What a database consists of."""

    tables: Mapping[TableName, Table]
    foreign_keys: tuple[ForeignKey, ...]
    large_objects: int


def read_schema(connection: psycopg.Connection) -> Schema:
    """Read what the database of `connection` consists of, in one consistent look."""
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        path = cursor.execute("SELECT current_setting('search_path') AS path").fetchone()
        # Types are told with their schema then, as sessions that copy need them: those have no search path.
        cursor.execute("SELECT set_config('search_path', '', true)")
        tables = cursor.execute(_TABLES).fetchall()
        names = {row["oid"]: TableName(row["nspname"], row["relname"]) for row in tables}
        oids = list(names)
        unique = {(row["indrelid"], row["attname"]) for row in cursor.execute(_UNIQUE, [oids])}
        columns: dict[int, dict[str, Column]] = {oid: {} for oid in oids}
        for row in cursor.execute(_COLUMNS, [oids]):
            table, name = row["attrelid"], row["attname"]
            columns[table][name] = Column(
                name=name,
                type_name=row["type_name"],
                base=row["base"],
                family=_family(row["base"], row["category"]),
                length=row["length"],
                required=row["required"],
                generated=row["generated"],
                unique=(table, name) in unique,
            )
        keys = cursor.execute(_FOREIGN_KEYS, [oids]).fetchall()
        counted = cursor.execute("SELECT count(*) AS n FROM pg_catalog.pg_largeobject_metadata").fetchone()
        cursor.execute("SELECT set_config('search_path', %(path)s, true)", path)
    roots = {row["oid"]: TableName(row["root_schema"], row["root_table"]) for row in tables if row["leaf"]}
    return Schema(
        tables={
            names[row["oid"]]: Table(
                name=names[row["oid"]],
                columns=columns[row["oid"]],
                leaves=tuple(names[leaf] for leaf, root in roots.items() if root == names[row["oid"]]),
                estimate=row["estimate"],
            )
            for row in tables
            if not row["leaf"]
        },
        foreign_keys=tuple(
            ForeignKey(
                name=row["conname"],
                child=roots.get(row["conrelid"], names[row["conrelid"]]),
                columns=tuple(row["columns"]),
                parent=roots.get(row["confrelid"], names[row["confrelid"]]),
                refers=tuple(row["refers"]),
            )
            for row in keys
            if row["confrelid"] in names
        ),
        large_objects=counted["n"] if counted else 0,
    )


def primary_key(connection: psycopg.Connection[Any], table: TableName) -> tuple[str, ...]:
    """The columns of the table's primary key; none when it has none."""
    rows = connection.execute(
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
        "AND a.attnum = ANY (i.indkey) WHERE i.indisprimary AND i.indrelid = to_regclass(%s) "
        "ORDER BY a.attnum",
        [Identifier(table.schema, table.table).as_string(connection)],
    ).fetchall()
    return tuple(name for (name,) in rows)


def _family(base: str, category: str) -> Family:
    return Family.ARRAY if category == "A" else _FAMILIES.get(base, Family.OTHER)
