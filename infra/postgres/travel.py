"""Which types may travel in PostgreSQL's binary format between two databases, and which need text.

Invariant: a type travels in binary only if its bytes mean the same in another database. Arrays and composites
carry type numbers in their bytes, and only built-in types have the same number everywhere; the `reg…` types
are numbers of objects, which differ; an extension's own types may change with its version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg.rows import class_row

FIRST_OWN_NUMBER = 16384
"""Types below it are PostgreSQL's own, with the same number in every database of every version."""

_NUMBERS_OF_OBJECTS = frozenset(
    {
        "regproc", "regprocedure", "regoper", "regoperator", "regclass", "regtype", "regrole", "regnamespace",
        "regconfig", "regdictionary", "regcollation", "regdatabase",
    }
)  # fmt: skip

_TYPES = """
SELECT t.oid, t.typname AS name, t.typtype::text AS kind, t.typbasetype AS base,
       t.typsend::oid <> 0 AND t.typreceive::oid <> 0 AS has_binary,
       CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem ELSE 0 END AS element,
       coalesce(r.rngsubtype, m.rngtypid, 0) AS ranged,
       CASE WHEN t.typtype = 'c' THEN ARRAY(
            SELECT a.atttypid::int8 FROM pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
            ELSE '{}' END AS fields
  FROM pg_type t
  LEFT JOIN pg_range r ON r.rngtypid = t.oid
  LEFT JOIN pg_range m ON m.rngmultitypid = t.oid
"""


class Travel(StrEnum):
    """How a value crosses from one database to another."""

    BINARY = "binary"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True)
class _Type:
    oid: int
    name: str
    kind: str
    base: int
    has_binary: bool
    element: int
    ranged: int
    fields: list[int]

    def parts(self) -> list[int]:
        """The types that its bytes are made of."""
        if self.element:
            return [self.element]
        return {"d": [self.base], "r": [self.ranged], "m": [self.ranged], "c": self.fields}.get(self.kind, [])

    def names_parts(self) -> bool:
        """Whether its bytes hold the numbers of its parts' types."""
        return bool(self.element) or self.kind == "c"


def travel(connection: psycopg.Connection) -> Mapping[int, Travel]:
    """How each type of the database travels, by its number."""
    with connection.cursor(row_factory=class_row(_Type)) as cursor:
        types = {found.oid: found for found in cursor.execute(_TYPES)}
    known: dict[int, bool] = {}

    def stable(oid: int) -> bool:
        if oid not in known:
            known[oid] = False
            found = types[oid]
            known[oid] = (
                found.has_binary
                and found.name not in _NUMBERS_OF_OBJECTS
                and (oid < FIRST_OWN_NUMBER or found.kind == "e" or bool(found.parts()))
                and all(stable(part) for part in found.parts())
                and not (found.names_parts() and any(part >= FIRST_OWN_NUMBER for part in found.parts()))
            )
        return known[oid]

    return {oid: Travel.BINARY if stable(oid) else Travel.TEXT for oid in types}
