"""The two COPY statements of each table: what the source gives, already masked, and how the target takes it.

Invariant: a column that the selection masks occurs on the source's side only inside its mask, and the text of
no statement holds the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql
from psycopg.sql import Composable, Composed

from infra.postgres.carrier import Load
from infra.postgres.catalog import Table
from infra.postgres.selection import Selection
from infra.postgres.travel import Travel

_TRUNCATE = sql.SQL("TRUNCATE ONLY {}")


@dataclass(frozen=True, kw_only=True)
class TableLoad:
    """A table's load, or one range of it.

    Attributes:
        before: run in the target's transaction first, or None; TRUNCATE there is what permits FREEZE.
        share: part of the table that this load carries.
    """

    table: Table
    load: Load
    before: Composed | None
    share: float = 1.0


def whole(table: Table, selection: Selection) -> TableLoad:
    """The load of a whole table."""
    rerouted = bool(table.key_columns) and _moves(table, selection)
    freeze = not (rerouted or table.extension)
    return TableLoad(
        table=table,
        load=_load(table, selection, extra=None, freeze=freeze, rerouted=rerouted),
        before=_TRUNCATE.format(table.identifier) if freeze else None,
    )


def ranges(table: Table, selection: Selection, *, pages: int, parts: int) -> Iterator[TableLoad]:
    """Loads of consecutive ranges of pages; FREEZE is for the one session that emptied the table."""
    step = -(-pages // parts)
    for part in range(parts):
        last = part == parts - 1
        within = sql.SQL("ctid >= {first}::tid").format(first=sql.Literal(f"({part * step},0)"))
        if not last:
            within += sql.SQL(" AND ctid < {end}::tid").format(end=sql.Literal(f"({(part + 1) * step},0)"))
        rerouted = bool(table.key_columns) and _moves(table, selection)
        yield TableLoad(
            table=table,
            load=_load(table, selection, extra=within, freeze=False, rerouted=rerouted),
            before=None,
            share=1 / parts,
        )


def _moves(table: Table, selection: Selection) -> bool:
    """Whether a mask could make a row belong to another partition."""
    return bool(table.key_columns & set(selection.columns)) or (
        "" in table.key_columns and bool(selection.columns)
    )


def _load(
    table: Table, selection: Selection, *, extra: Composable | None, freeze: bool, rerouted: bool
) -> Load:
    conditions: list[Composable] = []
    if selection.where is not None:
        conditions.append(sql.SQL("({})").format(selection.where))
    if table.condition is not None:
        # An extension's own words about which of its rows are the user's: `WHERE …`.
        words = table.condition.strip().removeprefix("WHERE").removeprefix("where")
        conditions.append(sql.SQL("({})").format(sql.SQL(words)))
    if extra is not None:
        conditions.append(extra)
    names = [sql.Identifier(column.name) for column in table.columns]
    listed = sql.SQL("({})").format(sql.SQL(", ").join(names)) if names else sql.SQL("")
    binary = all(column.travel is Travel.BINARY for column in table.columns)
    kind = sql.SQL("FORMAT binary" if binary else "FORMAT text")
    if selection.columns or conditions:
        taken = sql.SQL("(SELECT {values} FROM ONLY {table}{where})").format(
            values=sql.SQL(", ").join(_value(table, selection)),
            table=table.identifier,
            where=sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL(""),
        )
    else:
        taken = sql.SQL("{table} {columns}").format(table=table.identifier, columns=listed)
    top = table.ancestors[-1] if rerouted else table.name
    return Load(
        what=str(table.name),
        take=sql.SQL("COPY {taken} TO STDOUT ({kind})").format(taken=taken, kind=kind),
        put=sql.SQL("COPY {table} {columns} FROM STDIN ({kind}{freeze})").format(
            table=sql.Identifier(top.schema, top.table),
            columns=listed,
            kind=kind,
            freeze=sql.SQL(", FREEZE") if freeze else sql.SQL(""),
        ),
    )


def _value(table: Table, selection: Selection) -> Iterator[Composable]:
    for column in table.columns:
        mask = selection.columns.get(column.name)
        if mask is None:
            yield sql.Identifier(column.name)
        else:
            # Without a length, so that a value which is too long is an error at the target, not cut.
            yield sql.SQL("({mask})::{type}").format(mask=mask, type=column.type)
