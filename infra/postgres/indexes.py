"""The indexes of big tables, built one by one as soon as their table is there.

Small tables' indexes are not worth a program each: they come at the end, all together.

Invariant: each index or constraint entry of the archive is restored once, here or at the end; unique
constraints come first, because they lock the table against the building of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import psycopg

from infra.postgres.archive import Archive, Entry
from infra.postgres.catalog import Table
from infra.postgres.pool import Countdown, Piece
from infra.postgres.selection import TableName

BIG = 32 << 20
"""From this stored size on a table's indexes are built apart; for less, starting a program costs too much."""

_OF_TABLES = """
SELECT i.indexrelid, i.indrelid, pg_relation_size(i.indexrelid) FROM pg_index i
 WHERE i.indrelid = ANY (%(tables)s)
UNION ALL
SELECT c.oid, c.conrelid, pg_relation_size(c.conindid) FROM pg_constraint c
 WHERE c.conrelid = ANY (%(tables)s) AND c.contype IN ('p', 'u', 'x')
"""

_MEMORY = """
SELECT greatest((SELECT setting::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'),
                least((SELECT setting::bigint * 8 FROM pg_settings WHERE name = 'shared_buffers') / 2 / %s,
                      1048576))
"""


@dataclass(frozen=True, kw_only=True)
class IndexWork:
    """What is to be built on one big table; the numbers are sizes in the source."""

    constraints: tuple[Entry, ...]
    constraints_size: int
    indexes: tuple[tuple[Entry, int], ...]

    @property
    def weight(self) -> int:
        """The whole of it."""
        return self.constraints_size + sum(size for _, size in self.indexes)

    def entries(self) -> Iterator[Entry]:
        """Every entry."""
        yield from self.constraints
        for entry, _ in self.indexes:
            yield entry

    def pieces(
        self,
        build: Callable[[Sequence[Entry]], None],
        done: Callable[[int], None],
        *,
        complete: Callable[[], Iterable[Piece[object]]],
        tail: int,
    ) -> Iterator[Piece[object]]:
        """The pieces of work: the constraints, and then each index by itself.

        Args:
            build: restores entries.
            done: told the weight of what was built.
            complete: told when all of it is there; what may follow.
            tail: the weight of that.
        """
        left = Countdown(len(self.indexes))

        def constraints(_: object) -> Iterable[Piece[object]]:
            if self.constraints:
                build(self.constraints)
                done(self.constraints_size)
            if not self.indexes:
                return complete()
            return [Piece(path=size + tail, act=partial(index, entry, size)) for entry, size in self.indexes]

        def index(entry: Entry, size: int, _: object) -> Iterable[Piece[object]]:
            build([entry])
            done(size)
            return complete() if left.is_last() else ()

        yield Piece(path=self.weight + tail, act=constraints)


def index_work(
    source: psycopg.Connection, tables: Sequence[Table], archive: Archive
) -> Mapping[TableName, IndexWork]:
    """What is to be built on each of the big ones among `tables`."""
    big = {table.oid: table for table in tables if table.bytes + table.index_bytes >= BIG}
    rows = source.execute(_OF_TABLES, {"tables": list(big)}).fetchall()
    places = {number: (table, size) for number, table, size in rows}
    constraints: dict[int, list[tuple[Entry, int]]] = {}
    indexes: dict[int, list[tuple[Entry, int]]] = {}
    for entry in archive.entries:
        if entry.oid not in places:
            continue
        table, size = places[entry.oid]
        if entry.is_a(("CONSTRAINT",)):
            constraints.setdefault(table, []).append((entry, size))
        elif entry.is_a(("INDEX",)) and not entry.is_a(("INDEX ATTACH",)):
            indexes.setdefault(table, []).append((entry, size))
    return {
        big[table].name: IndexWork(
            constraints=tuple(entry for entry, _ in constraints.get(table, [])),
            constraints_size=sum(size for _, size in constraints.get(table, [])),
            indexes=tuple(indexes.get(table, [])),
        )
        for table in {*constraints, *indexes}
    }


def building_settings(target: psycopg.Connection, jobs: int) -> Mapping[str, str]:
    """Memory for sorting, judged by the target's buffers, and never less than the server would give."""
    row = target.execute(_MEMORY, [jobs]).fetchone()
    return {"maintenance_work_mem": f"{row[0]}kB"} if row else {}
