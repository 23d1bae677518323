"""The target's own rows as they stand in the copy: found by their keys, compared, and looked through.

Invariant: it only reads. In the copy nothing but these rows is looked at, so it takes as long for a large
database as for a small one; a value is never told, only where it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from infra.postgres.kept_sets import KeptSet, kept_sets
from infra.postgres.leak_probe import MAY_HOLD_TEXT, Leak
from infra.postgres.reach import settle
from infra.postgres.schema import Table, read_schema
from infra.postgres.selection import TableName
from policy.errors import StepFailed
from policy.protection import Forbidden, Protection

Row = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What was preserved of one table, and what the comparison said.

    Attributes:
        rows: in the target.
        equal: how many of them stand in the incoming database unchanged.
    """

    table: TableName
    rows: int
    equal: int
    leaks: tuple[Leak, ...] = ()

    def facts(self) -> dict[str, object]:
        """For the journal and the report."""
        return {"table": str(self.table), "rows": self.rows, "equal": self.equal}


def compare_kept(
    target: psycopg.Connection[Any],
    incoming: psycopg.Connection[Any],
    protection: Protection,
    *,
    patterns: Sequence[Forbidden] = (),
) -> tuple[Kept, ...]:
    """Compare the target's own rows with those in the incoming database, row by row, by digest.

    Args:
        target: in the database that serves.
        incoming: in the copy.
        protection: says which rows are the target's own.
        patterns: what must not occur in them; needed where the copy is not probed as a whole.

    Raises:
        StepFailed: the copy did not answer a question, so nobody can tell.
    """
    for connection in (target, incoming):
        with connection.transaction():
            # Both ends write values alike, whatever is set for their roles and databases.
            settle(connection, search_path="public")
    mine = read_schema(target)
    try:
        return tuple(
            _compare(target, incoming, mine.tables[each.table], each, patterns)
            for rows in protection.preserve
            for each in kept_sets(target, mine, rows)
        )
    except psycopg.Error as error:
        words = error.diag.message_primary or type(error).__name__
        raise StepFailed(f"the site's own rows could not be compared: {words}") from error


def _compare(
    target: psycopg.Connection[Any],
    incoming: psycopg.Connection[Any],
    table: Table,
    each: KeptSet,
    patterns: Sequence[Forbidden],
) -> Kept:
    own = target.execute(
        SQL("SELECT {} FROM {} WHERE {}").format(
            SQL(", ").join([*_keys(each), _digest(table)]), _name(table.name), each.condition
        )
    ).fetchall()
    if not own:
        return Kept(table=each.table, rows=0, equal=0)
    keys = list(dict.fromkeys(row[:-1] for row in own))
    # Without keys, or with one that says nothing, the condition finds the rows; that reads the whole table.
    by_key = bool(each.match) and all(value is not None for key in keys for value in key)
    among = _wanted(table, each, keys) if by_key else _where(table, each)
    there = Counter(
        {str(word): int(count) for word, count in incoming.execute(
            SQL("SELECT {}, count(*) {} GROUP BY 1").format(_digest(table), among)
        ).fetchall()}
    )  # fmt: skip
    equal = sum((Counter(str(row[-1]) for row in own) & there).values())
    leaks = tuple(_leaks(incoming, table, among, patterns)) if patterns else ()
    return Kept(table=each.table, rows=len(own), equal=equal, leaks=leaks)


def _leaks(
    incoming: psycopg.Connection[Any], table: Table, among: Composable, patterns: Sequence[Forbidden]
) -> Iterator[Leak]:
    texts = [
        SQL("own.{}::text").format(Identifier(column.name))
        for column in table.columns.values()
        if column.family in MAY_HOLD_TEXT
    ]
    for forbidden in patterns if texts else ():
        hit = SQL(" OR ").join(SQL("{} ~ {}").format(text, Literal(forbidden.pattern)) for text in texts)
        found = incoming.execute(
            SQL("SELECT own.freshet_place {} WHERE {} LIMIT 3").format(among, hit)
        ).fetchall()
        for (place,) in found:
            yield Leak(what=forbidden.title, where=f"{table.name}, one of the site's own rows, at {place}")


def _wanted(table: Table, each: KeptSet, keys: Sequence[Row]) -> Composed:
    """The rows of these keys, each found by index; texts are written out, not bound."""
    names = [Identifier(f"freshet_k{number}") for number in range(len(each.match))]
    return SQL(
        "FROM (SELECT row.*, row.ctid::text AS freshet_place FROM unnest({arrays}) AS wanted({names}) "
        "JOIN {table} AS row ON {same}) AS own"
    ).format(
        arrays=SQL(", ").join(
            SQL("{}::text[]").format(Literal([key[number] for key in keys])) for number in range(len(names))
        ),
        names=SQL(", ").join(names),
        table=_name(table.name),
        same=SQL(" AND ").join(
            SQL("row.{} = CAST(wanted.{} AS {})").format(
                Identifier(key), name, SQL(table.columns[key].type_name)
            )
            for key, name in zip(each.match, names, strict=True)
        ),
    )


def _where(table: Table, each: KeptSet) -> Composed:
    return SQL("FROM (SELECT *, ctid::text AS freshet_place FROM {} WHERE {}) AS own").format(
        _name(table.name), each.condition
    )


def _keys(each: KeptSet) -> list[Composable]:
    return [SQL("{}::text").format(Identifier(name)) for name in each.match]


def _digest(table: Table) -> Composed:
    columns = SQL(", ").join(Identifier(c.name) for c in table.columns.values() if not c.generated)
    return SQL("encode(sha256(convert_to(ROW({})::text, 'UTF8')), 'hex')").format(columns)


def _name(table: TableName) -> Identifier:
    return Identifier(table.schema, table.table)
