"""Proves on a sample that the copy does not hold the originals of masked values.

Invariant: originals never leave the source: both sides hash with the customer's key, and only the hashes and
the sampled rows' masked keys travel. A row that changed in Production meanwhile cannot raise a false alarm,
because only equality with the original counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from infra.postgres.leak_probe import Leak
from infra.postgres.mask_sql import column_expression
from infra.postgres.reach import settle
from infra.postgres.schema import Column, Schema, Table, primary_key, read_schema
from infra.postgres.selection import Selection, Selections
from policy.masks import Family
from policy.protection import JsonKeys, Protection, Rule, branches

SAMPLE = 200
"""Rows of each table."""

_HASH = SQL("encode(sha256(convert_to(current_setting('freshet.key') || ':compare:' || {}, 'UTF8')), 'hex')")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How many masked values were compared, and the originals that were found."""

    values: int
    tables: int
    leaks: tuple[Leak, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One masked value of a row: a column, or a key of a JSON column, as `sample` offers it."""

    column: Column
    rule: Rule
    key: str | None
    place: int

    @property
    def name(self) -> str:
        """How people find it: the column, and the key where there is one."""
        return self.column.name if self.key is None else f"{self.column.name} -> {self.key}"

    def stored(self) -> Composable:
        """The value as it stands in the row."""
        return self._text(Identifier(self.column.name))

    def masked(self) -> Composable:
        """The value as the source gives it away."""
        return self._text(_alias(self.place))

    def _text(self, value: Composable) -> Composable:
        if self.key is None:
            return SQL("{}::text").format(value)
        return SQL("({}::jsonb ->> {})").format(value, Literal(self.key))


def ready(connection: psycopg.Connection[Any], key: str) -> None:
    """Make a session speak as copies do, and give it the masking key, as a bound parameter."""
    with connection.transaction():
        settle(connection)
        connection.execute("SELECT set_config('freshet.key', %s, false)", [key])


def compare(
    source: psycopg.Connection[Any],
    incoming: psycopg.Connection[Any],
    *,
    protection: Protection,
    schema: Schema,
    selections: Selections,
) -> Compared:
    """Look whether sampled rows of the copy hold an original. Both sessions know the key (`ready`)."""
    values, tables, leaks = 0, 0, []
    arrived = read_schema(incoming)
    for table in schema.tables.values():
        selection = selections[table.name]
        # A migration to a newer release may have taken tables and columns away since.
        there = arrived.tables[table.name].columns if table.name in arrived.tables else {}
        keys = primary_key(source, table.name)
        found = [
            point
            for point in (points(protection, table) if selection.rows and selection.columns else ())
            if point.column.name in there
        ]
        if not keys or not found or not set(keys) <= set(there):
            continue
        tables += 1
        rows = _originals(source, table, selection, keys, found)
        stored = _stored(incoming, table, keys, [row[: len(keys)] for row in rows], found)
        for row in rows:
            key, hashes = row[: len(keys)], row[len(keys) :]
            values += sum(value is not None for value in hashes)
            leaks += [
                Leak(what="an original value is in the copy", where=f"{table.name}.{point.name}")
                for point, was, now in zip(found, hashes, stored.get(key, hashes[:0]), strict=False)
                if was is not None and was == now
            ]
    return Compared(values=values, tables=tables, leaks=tuple(dict.fromkeys(leaks)))


def points(protection: Protection, table: Table) -> Iterator[Point]:
    """Every value of a row of `table` that the policy does not simply keep."""
    rules = protection.tables[table.name.schema, table.name.table].columns
    for place, column in enumerate(table.columns.values()):
        if column.generated or column_expression(column, rules[column.name]) is None:
            continue
        rule = rules[column.name]
        if column.family is not Family.JSON:
            yield Point(column=column, rule=rule, key=None, place=place)
            continue
        names = {key for branch in branches(rule) if isinstance(branch, JsonKeys) for key in branch.keys}
        for name in sorted(names):
            yield Point(column=column, rule=rule, key=name, place=place)


def sample(table: Table, selection: Selection, size: int) -> Composed:
    """A FROM item: some of the rows that are taken, each column beside its masked form, masked once."""
    # A large table is read from random pages only.
    share = 100 * 20 * size / max(table.estimate, 1)
    return SQL(
        "(SELECT row.*, {masked} FROM (SELECT * FROM {table}{some} WHERE {where} ORDER BY random() "
        "LIMIT {size}) AS row OFFSET 0) AS sample"
    ).format(
        masked=SQL(", ").join(
            SQL("{} AS {}").format(selection.columns.get(column.name, Identifier(column.name)), _alias(place))
            for place, column in enumerate(table.columns.values())
        ),
        table=Identifier(table.name.schema, table.name.table),
        some=SQL(" TABLESAMPLE SYSTEM ({})").format(Literal(share)) if share < 100 else SQL(""),  # noqa: PLR2004 - percent
        where=selection.where or SQL("true"),
        size=Literal(size),
    )


def _alias(place: int) -> Identifier:
    return Identifier(f"freshet_m{place}")


def _originals(
    source: psycopg.Connection[Any],
    table: Table,
    selection: Selection,
    keys: Sequence[str],
    points: list[Point],
) -> list[tuple[Any, ...]]:
    """Masked keys and the originals' hashes; NULL where the mask leaves the value as it is."""
    places = list(table.columns)
    chosen = [SQL("{}::text").format(_alias(places.index(key))) for key in keys]
    hashes = [
        SQL("CASE WHEN {masked} IS DISTINCT FROM {stored} THEN {hash} END").format(
            masked=point.masked(), stored=point.stored(), hash=_HASH.format(point.stored())
        )
        for point in points
    ]
    return source.execute(
        SQL("SELECT {} FROM {}").format(SQL(", ").join([*chosen, *hashes]), sample(table, selection, SAMPLE))
    ).fetchall()


def _stored(
    incoming: psycopg.Connection[Any],
    table: Table,
    keys: Sequence[str],
    wanted: list[tuple[Any, ...]],
    points: list[Point],
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The hashes of what stands in the copy's rows of these keys."""
    names = [Identifier(f"freshet_k{n}") for n in range(len(keys))]
    found = incoming.execute(
        SQL("SELECT {columns} FROM {table} JOIN unnest({arrays}) AS wanted({names}) ON {same}").format(
            columns=SQL(", ").join([*names, *(_HASH.format(point.stored()) for point in points)]),
            table=Identifier(table.name.schema, table.name.table),
            # Written out, not bound: the texts of keys may hold what a placeholder looks like.
            arrays=SQL(", ").join(
                SQL("{}::text[]").format(Literal([key[n] for key in wanted])) for n in range(len(keys))
            ),
            names=SQL(", ").join(names),
            same=SQL(" AND ").join(
                SQL("{} = CAST({} AS {})").format(Identifier(key), name, SQL(table.columns[key].type_name))
                for key, name in zip(keys, names, strict=True)
            ),
        )
    ).fetchall()
    return {tuple(row[: len(keys)]): tuple(row[len(keys) :]) for row in found}
