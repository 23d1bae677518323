"""The foreign keys between big tables, proven while other tables' indexes are still built.

To prove one reads both tables whole, on one core; left to the end, the other cores would be idle meanwhile.

Invariant: a key is proven once both its tables have all their indexes, and no two at the same time: each
locks its two tables, and two that lock them in another order would wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from infra.postgres.archive import Archive, Entry
from infra.postgres.catalog import Table
from infra.postgres.pool import Piece
from infra.postgres.selection import TableName

_BETWEEN = """
SELECT oid, conrelid, confrelid FROM pg_constraint
 WHERE contype = 'f' AND conrelid = ANY (%(tables)s) AND confrelid = ANY (%(tables)s)
"""
_COST_SHARE = 4
"""Proving a key takes about a fourth of the time that carrying its table took."""


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """One key: its entry in the archive, and the tables at its two ends."""

    entry: Entry
    ends: frozenset[TableName]
    weight: int


class ForeignKeys:
    """The keys of one copy that need not wait for the end.

    Args:
        keys: all of them.
        build: restores entries of the archive.
    """

    def __init__(self, keys: Sequence[ForeignKey], build: Callable[[Sequence[Entry]], None]) -> None:
        self._waiting = list(keys)
        self._build = build
        self._there: set[TableName] = set()
        self._proving = False
        self._changed = threading.Lock()
        self.entries = tuple(key.entry for key in keys)
        self._tails: dict[TableName, int] = {}
        for key in keys:
            for end in key.ends:
                self._tails[end] = self._tails.get(end, 0) + key.weight

    def tail(self, table: TableName) -> int:
        """The weight of what can only follow when `table` has all its indexes."""
        return self._tails.get(table, 0)

    def complete(self, table: TableName) -> Iterable[Piece[object]]:
        """`table` has all its indexes now; the pieces of work that may begin."""
        with self._changed:
            self._there.add(table)
            return list(self._next())

    def _next(self) -> Iterator[Piece[object]]:
        if self._proving:
            return
        ready = next((key for key in self._waiting if key.ends <= self._there), None)
        if ready is not None:
            self._waiting.remove(ready)
            self._proving = True
            yield Piece(path=ready.weight, act=lambda _: self._prove(ready))

    def _prove(self, key: ForeignKey) -> Iterable[Piece[object]]:
        self._build([key.entry])
        with self._changed:
            self._proving = False
            return list(self._next())


def between(
    source: psycopg.Connection, tables: Sequence[Table], indexed: Mapping[TableName, object], archive: Archive
) -> Iterator[ForeignKey]:
    """The foreign keys between those of `tables` whose indexes are built on the way."""
    known = {table.oid: table for table in tables if table.name in indexed}
    rows = source.execute(_BETWEEN, {"tables": list(known)}).fetchall()
    places = {number: (known[child], known[parent]) for number, child, parent in rows}
    for entry in archive.entries:
        if entry.is_a(("FK CONSTRAINT",)) and entry.oid in places:
            child, parent = places[entry.oid]
            yield ForeignKey(
                entry=entry, ends=frozenset({child.name, parent.name}), weight=child.bytes // _COST_SHARE
            )
