"""The target's own rows: carried from the database that serves into the incoming one.

Invariant: in the incoming database they are exchanged in one transaction per set, so they are there wholly or
as the copy brought them; repeating it changes nothing. The target is only read.

Children are found by foreign key. Where a preserved row meets one of Production with the same key, it wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier

from infra.postgres.kept_sets import KeptSet, kept_sets, refers
from infra.postgres.reach import settle
from infra.postgres.schema import Schema, Table, read_schema
from infra.postgres.selection import TableName
from infra.postgres.triggers import quiet_triggers
from policy.errors import Refused, StepFailed
from policy.protection import Protection

_CARRIER = Identifier("freshet_kept")


def check_preserve(protection: Protection, target: Schema, incoming: Schema) -> tuple[str, ...]:
    """Why the target's own rows cannot be carried over; `incoming` is the schema that they will meet."""
    found: list[str] = []
    for rows in protection.preserve:
        for key in (rows.table, *rows.children):
            name = TableName(*key)
            mine, theirs = target.tables.get(name), incoming.tables.get(name)
            if mine is None:
                continue  # nothing to preserve
            if theirs is None:
                found.append(f"preserve: the copy has no table {name}, so the target's rows have no place")
                continue
            found.extend(_differences(mine, theirs))
        found.extend(
            f"preserve: table {TableName(*child)} has no foreign key to {TableName(*rows.table)}; "
            "give it an entry of its own"
            for child in rows.children
            if TableName(*child) in target.tables and not refers(target, TableName(*child), rows.table)
        )
    return tuple(found)


def preserve(
    target: psycopg.Connection[Any], incoming: psycopg.Connection[Any], protection: Protection
) -> None:
    """Carry the target's own rows and sequences into the incoming database (`kept_rows` compares them).

    Raises:
        Refused: they do not fit; every reason.
        StepFailed: the incoming database refused a row.
    """
    _settle(target, incoming)
    mine = read_schema(target)
    findings = check_preserve(protection, mine, read_schema(incoming))
    if findings:
        raise Refused(*findings)
    target.rollback()
    with target.transaction():
        target.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for rows in protection.preserve:
            sets = list(kept_sets(target, mine, rows))
            with incoming.transaction():
                _exchange(target, incoming, mine, sets)
        _sequences(target, incoming, protection)


def _settle(*connections: psycopg.Connection[Any]) -> None:
    """Both ends write values alike, whatever is set for their roles and databases."""
    for connection in connections:
        with connection.transaction():
            settle(connection, search_path="public")


def _differences(mine: Table, theirs: Table) -> Iterator[str]:
    for column in mine.columns.values():
        other = theirs.columns.get(column.name)
        if column.generated:
            continue
        if other is None:
            yield (
                f"preserve: {mine.name}.{column.name} is not in the copy's schema; bring the target to "
                "Production's version first, or preserve the rows after the migration"
            )
        elif other.type_name != column.type_name:
            yield (
                f"preserve: {mine.name}.{column.name} is {column.type_name} in the target and "
                f"{other.type_name} in the copy"
            )
    for name, other in theirs.columns.items():
        if name not in mine.columns and other.required and not other.generated:
            yield f"preserve: {mine.name}.{name} is required in the copy and unknown in the target"


def _exchange(
    target: psycopg.Connection[Any],
    incoming: psycopg.Connection[Any],
    schema: Schema,
    sets: Sequence[KeptSet],
) -> None:
    """Children go before their parents and come after them."""
    for each in reversed(sets):
        if each.replace:
            with quiet_triggers(incoming, each.table.schema, each.table.table):
                _run(
                    incoming,
                    each.table,
                    SQL("DELETE FROM {} WHERE {}").format(_name(each.table), each.condition),
                )
    for each in sets:
        _bring(target, incoming, schema.tables[each.table], each)


def _bring(
    target: psycopg.Connection[Any], incoming: psycopg.Connection[Any], table: Table, each: KeptSet
) -> None:
    columns = _columns(table)
    incoming.execute(SQL("DROP TABLE IF EXISTS pg_temp.{}").format(_CARRIER))
    incoming.execute(
        SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
            _CARRIER, columns, _name(each.table)
        )
    )
    source = SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT").format(
        columns, _name(each.table), each.condition
    )
    with (
        target.cursor().copy(source) as reading,
        incoming.cursor().copy(SQL("COPY pg_temp.{} FROM STDIN").format(_CARRIER)) as writing,
    ):
        for block in reading:
            writing.write(block)
    with quiet_triggers(incoming, each.table.schema, each.table.table):
        _run(
            incoming,
            each.table,
            SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM pg_temp.{} {}").format(
                _name(each.table), columns, columns, _CARRIER, _on_conflict(table, each)
            ),
        )


def _on_conflict(table: Table, each: KeptSet) -> Composable:
    """An update and not a deletion, so that rows of Production that refer to the row keep their hold."""
    if not each.match:
        return SQL("")
    rest = [c.name for c in table.columns.values() if not c.generated and c.name not in each.match]
    changes = SQL(", ").join(SQL("{0} = excluded.{0}").format(Identifier(name)) for name in rest)
    return SQL("ON CONFLICT ({}) DO {}").format(
        SQL(", ").join(map(Identifier, each.match)),
        SQL("UPDATE SET {}").format(changes) if rest else SQL("NOTHING"),
    )


def _run(incoming: psycopg.Connection[Any], table: TableName, statement: Composed) -> None:
    try:
        incoming.execute(statement)
    except psycopg.errors.IntegrityError as error:
        constraint = error.diag.constraint_name or "a constraint"
        raise StepFailed(
            f"preserve: the target's rows of {table} do not go together with the copy's ({constraint}); "
            "declare what else has to be preserved or replaced"
        ) from error


def _sequences(
    target: psycopg.Connection[Any], incoming: psycopg.Connection[Any], protection: Protection
) -> None:
    """A sequence never goes back, so that neither the kept rows nor the copy's collide with new ones."""
    for key in protection.preserved_sequences:
        name = Identifier(*key)
        with incoming.transaction():
            mine = target.execute(SQL("SELECT last_value, is_called FROM {}").format(name)).fetchone()
            theirs = incoming.execute(SQL("SELECT last_value FROM {}").format(name)).fetchone()
            if mine and theirs and mine[0] > theirs[0]:
                incoming.execute(
                    "SELECT setval(to_regclass(%s), %s, %s)", [name.as_string(incoming), mine[0], mine[1]]
                )


def _columns(table: Table) -> Composed:
    return SQL(", ").join(Identifier(c.name) for c in table.columns.values() if not c.generated)


def _name(table: TableName) -> Identifier:
    return Identifier(table.schema, table.table)
