"""Asks the source to plan each selection, so that a condition or a mask that it would refuse is known before.

Invariant: nothing is read but catalogs and nothing is changed: EXPLAIN plans and does not run.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier
from pydantic import SecretStr

from infra.postgres.mask_sql import raw
from infra.postgres.selection import Selection, Selections, TableName
from policy.protection import Protection


def check_conditions(
    source: psycopg.Connection[Any], selections: Selections, key: SecretStr
) -> tuple[str, ...]:
    """Why the source would refuse a selection; empty when it would take all of them."""
    found: list[str] = []
    for table, selection in selections.items():
        if not selection.rows or not (selection.columns or selection.where):
            continue
        try:
            with source.transaction(force_rollback=True):
                source.execute("SELECT set_config('freshet.key', %s, true)", [key.get_secret_value()])
                source.execute(_explain(table, selection))
        except psycopg.Error as error:
            words = error.diag.message_primary or type(error).__name__
            found.append(
                f"table {table}: the source refuses its selection ({words}); correct protection.yml. "
                "Conditions name other tables and own functions with their schema"
            )
    return tuple(found)


def check_probes(source: psycopg.Connection[Any], protection: Protection) -> tuple[str, ...]:
    """Which patterns and statements of the leak probe PostgreSQL does not understand."""
    found: list[str] = []
    for forbidden in protection.forbidden:
        try:
            with source.transaction(force_rollback=True):
                source.execute("SELECT '' ~ %s", [forbidden.pattern])
        except psycopg.Error:
            found.append(
                f"leak_probe '{forbidden.title}': the pattern is not one of PostgreSQL's regular expressions"
            )
    for probe in protection.probes:
        try:
            with source.transaction(force_rollback=True):
                source.execute("SET LOCAL search_path TO public")
                source.execute(SQL("EXPLAIN {}").format(raw(probe.sql)))
        except psycopg.Error as error:
            words = error.diag.message_primary or type(error).__name__
            found.append(f"leak_probe '{probe.title}': the source refuses the statement ({words})")
    return tuple(found)


def _explain(table: TableName, selection: Selection) -> Composed:
    return SQL("EXPLAIN SELECT {} FROM {} WHERE {}").format(
        SQL(", ").join(selection.columns.values()) or SQL("1"),
        Identifier(table.schema, table.table),
        selection.where or SQL("true"),
    )
