"""Keeps an application's own triggers still while rows are put where they belong.

Invariant: inside one transaction, and each trigger gets back the state it had.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

_FORMS = {"O": SQL("ENABLE"), "R": SQL("ENABLE REPLICA"), "A": SQL("ENABLE ALWAYS")}


@contextmanager
def quiet_triggers(connection: psycopg.Connection[Any], schema: str, table: str) -> Iterator[None]:
    """No trigger of the application fires on `table` in the block; foreign keys are still checked."""
    name = Identifier(schema, table)
    found = connection.execute(
        "SELECT tgname, tgenabled::text FROM pg_trigger "
        "WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal AND tgenabled <> 'D'",
        [name.as_string(connection)],
    ).fetchall()
    for trigger, _ in found:
        connection.execute(SQL("ALTER TABLE {} DISABLE TRIGGER {}").format(name, Identifier(trigger)))
    yield
    for trigger, state in found:
        connection.execute(
            SQL("ALTER TABLE {} {} TRIGGER {}").format(name, _FORMS[state], Identifier(trigger))
        )
