"""Which rows of the target a policy preserves: the declared ones, and their children by foreign key.

Invariant: a set's condition names only its own table's columns outside of sub-selects, so it holds for the
target's rows and for the copy's alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier

from infra.postgres.mask_sql import raw
from infra.postgres.schema import ForeignKey, Schema, primary_key
from infra.postgres.selection import TableName
from policy.protection import PreservedRows


@dataclass(frozen=True, kw_only=True)
class KeptSet:
    """Rows of one table: the table, its condition, and what identifies a row."""

    table: TableName
    condition: Composable
    match: tuple[str, ...]
    replace: bool


def kept_sets(connection: psycopg.Connection[Any], schema: Schema, rows: PreservedRows) -> Iterator[KeptSet]:
    """The root rows first, then the children, which may be children of children."""
    root = TableName(*rows.table)
    if root not in schema.tables:
        return
    condition: Composable = raw(rows.where) if rows.where else SQL("true")
    yield KeptSet(
        table=root,
        condition=condition,
        match=rows.match or primary_key(connection, root),
        replace=rows.replace,
    )
    conditions = {root: condition}
    for key in rows.children:
        child = TableName(*key)
        if child not in schema.tables:
            continue
        parents = [
            _belongs(each, conditions[each.parent])
            for each in schema.foreign_keys
            if each.child == child and each.parent in conditions
        ]
        conditions[child] = SQL("({})").format(SQL(" OR ").join(parents)) if parents else SQL("false")
        yield KeptSet(
            table=child,
            condition=conditions[child],
            match=primary_key(connection, child),
            replace=rows.replace,
        )


def refers(schema: Schema, child: TableName, parent: tuple[str, str]) -> bool:
    """Whether `child` refers to `parent`, directly or through others."""
    reached, grown = {TableName(*parent)}, True
    while grown:
        more = {key.child for key in schema.foreign_keys if key.parent in reached} - reached
        reached |= more
        grown = bool(more)
    return child in reached


def _belongs(key: ForeignKey, condition: Composable) -> Composed:
    ours = [Identifier(f"freshet_k{n}") for n in range(len(key.columns))]
    return SQL(
        "EXISTS (SELECT FROM (SELECT {refers} FROM {parent} WHERE {condition}) AS freshet_p WHERE {same})"
    ).format(
        refers=SQL(", ").join(
            SQL("{} AS {}").format(Identifier(name), our) for name, our in zip(key.refers, ours, strict=True)
        ),
        parent=Identifier(key.parent.schema, key.parent.table),
        condition=condition,
        same=SQL(" AND ").join(
            SQL("{} = {}").format(our, Identifier(name)) for name, our in zip(key.columns, ours, strict=True)
        ),
    )
