"""Masks tables where they stand, in a private cluster, so that no page of before remains.

Only tables that a selection changes are touched: their rows are updated with the indexes at rest, those of
big tables by several sessions; the table is then written anew, and after it its indexes, several at once.
Other tables keep the files of the base backup.

Invariant: after `rewrite_all` a masked value of the source stands in no table, no index, no materialised view
and no statistics; foreign keys whose columns were masked have been proven again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psycopg
from psycopg import sql

from infra.postgres.aftermath import make_anew
from infra.postgres.catalog import Table
from infra.postgres.methods import CopyJob
from infra.postgres.pool import Countdown, Piece, Pool
from infra.postgres.progress import Meter, Watch
from infra.postgres.reach import settle
from infra.postgres.selection import Selection, TableName
from policy.errors import StepFailed

_REST = """
UPDATE pg_index SET indislive = false, indisready = false, indisvalid = false
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = indexrelid AND indrelid = %s AND indisready AND indisvalid AND indislive
RETURNING indexrelid, pg_relation_size(indexrelid), nspname, relname
"""
_WAKE = """
UPDATE pg_index SET indislive = true, indisready = true, indisvalid = true WHERE indexrelid = ANY (%s)
"""
_REFERRED = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = %s"
_PAGES = "SELECT pg_relation_size(%s::oid) / current_setting('block_size')::int"
_WORTH_SHARING = 32 << 20
"""From this stored size on several sessions mask a table together."""

_CONDENSE = sql.SQL("VACUUM (FULL) {}")
_ANALYZE = sql.SQL("ANALYZE {}")


def changed(tables: Sequence[Table], taken: Mapping[TableName, Selection]) -> list[Table]:
    """The tables that their selections change."""
    return [
        table
        for table in tables
        if not taken[table.name].rows or taken[table.name].columns or taken[table.name].where is not None
    ]


def rewrite_all(
    job: CopyJob,
    session: Callable[[], psycopg.Connection],
    tables: Sequence[Table],
    taken: Mapping[TableName, Selection],
    watch: Watch,
) -> int:
    """Apply the selections to every table that they change; the bytes that were rewritten.

    Args:
        job: whose key, and how many tables at once.
        session: opens a superuser's session in the database.
        tables: every table there is.
        taken: what of each is taken.
        watch: told how far it is.

    Raises:
        StepFailed: a mask or a constraint failed; the message names the table.
    """
    work = changed(tables, taken)
    weight = sum(table.bytes + table.index_bytes for table in work)
    meter = Meter(bytes_total=weight, weight=weight)
    meter.phase = "masking"

    def hands() -> psycopg.Connection:
        opened = session()
        settle(opened, session_replication_role="replica", maintenance_work_mem="256MB")
        opened.execute("SELECT set_config('freshet.key', %s, false)", [job.key.get_secret_value()])
        return opened

    def thin(table: Table, opened: psycopg.Connection) -> Iterable[Piece[psycopg.Connection]]:
        with _telling(table):
            _leave_out(opened, table, taken[table.name])
        return ()

    def mask(part: _Part, opened: psycopg.Connection) -> Iterable[Piece[psycopg.Connection]]:
        with _telling(part.table):
            part.mask(opened, taken[part.table.name])
        meter.finished(int(part.table.bytes * part.share))
        return ()

    def condense(table: Table, opened: psycopg.Connection) -> Iterable[Piece[psycopg.Connection]]:
        resting = asleep[table.oid]
        with _telling(table):
            opened.execute(_CONDENSE.format(table.identifier))
            opened.execute(_WAKE, [[index.oid for index in resting]])
        if not resting:
            return analyse(table, opened)
        left = Countdown(len(resting))
        return [Piece(path=index.bytes, act=partial(rebuild, table, index, left)) for index in resting]

    def rebuild(
        table: Table, index: _Index, left: Countdown, opened: psycopg.Connection
    ) -> Iterable[Piece[psycopg.Connection]]:
        with _telling(table):
            # Unlike what writes a table anew, this also asks whether its values are still unique.
            opened.execute(sql.SQL("REINDEX INDEX {}").format(index.name))
        meter.finished(index.bytes)
        return analyse(table, opened) if left.is_last() else ()

    def analyse(table: Table, opened: psycopg.Connection) -> Iterable[Piece[psycopg.Connection]]:
        with _telling(table):
            opened.execute(_ANALYZE.format(table.identifier))
        return ()

    def together(pieces: Iterable[Piece[psycopg.Connection]]) -> None:
        pool: Pool[psycopg.Connection] = Pool(
            threads=job.jobs, hands=hands, let_go=psycopg.Connection.close, stop=threading.Event()
        )
        pool.run(pieces, meter=meter, watch=watch)

    def weigh(table: Table) -> int:
        return table.bytes + table.index_bytes

    # One after the other: a row of before is kept in the file for as long as any older transaction is open.
    together(Piece(path=weigh(table), act=partial(thin, table)) for table in work)
    with hands() as keeper:
        asleep = {table.oid: _put_to_rest(keeper, table) for table in work}
    masked = [table for table in work if taken[table.name].rows and taken[table.name].columns]
    with _snapshot(hands) as snapshot, hands() as counter:
        parts = [part for table in masked for part in _parts(counter, table, job.jobs, snapshot)]
        together(Piece(path=int(weigh(part.table) * part.share), act=partial(mask, part)) for part in parts)
    together(Piece(path=weigh(table), act=partial(condense, table)) for table in work)
    opened = hands()
    try:
        make_anew(opened, work, taken)
    finally:
        opened.close()
    return weight


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Some of a table's pages, to be masked by one session.

    Attributes:
        last: the first page that is not of it; None for all that follow.
        snapshot: shared by all sessions, so that no row is masked twice that another one has moved.
    """

    table: Table
    first: int
    last: int | None
    share: float
    snapshot: str

    def mask(self, opened: psycopg.Connection, selection: Selection) -> None:
        """Update its rows."""
        types = {column.name: column.type for column in self.table.columns}
        changes = sql.SQL(", ").join(
            sql.SQL("{} = ({})::{}").format(sql.Identifier(name), mask, types[name])
            for name, mask in selection.columns.items()
        )
        until: sql.Composable = sql.SQL("")
        if self.last is not None:
            until = sql.SQL(" AND ctid < {}::tid").format(sql.Literal(f"({self.last},0)"))
        with opened.transaction():
            opened.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            opened.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self.snapshot)))
            opened.execute(
                sql.SQL("UPDATE ONLY {} SET {} WHERE ctid >= {}::tid{}").format(
                    self.table.identifier, changes, sql.Literal(f"({self.first},0)"), until
                )
            )


def _parts(opened: psycopg.Connection, table: Table, jobs: int, snapshot: str) -> Iterator[_Part]:
    number = jobs if table.bytes >= _WORTH_SHARING else 1
    pages = _number(opened, _PAGES, table.oid)
    for place in range(number):
        yield _Part(
            table=table,
            first=pages * place // number,
            last=None if place == number - 1 else pages * (place + 1) // number,
            share=1 / number,
            snapshot=snapshot,
        )


@dataclass(frozen=True, kw_only=True)
class _Index:
    """An index that rests."""

    oid: int
    bytes: int
    name: sql.Identifier


def _put_to_rest(opened: psycopg.Connection, table: Table) -> list[_Index]:
    """Let the server forget the indexes of `table` until they are made anew."""
    rows = opened.execute(_REST, [table.oid]).fetchall()
    return [
        _Index(oid=number, bytes=size, name=sql.Identifier(schema, name))
        for number, size, schema, name in rows
    ]


@contextmanager
def _snapshot(hands: Callable[[], psycopg.Connection]) -> Iterator[str]:
    """A snapshot that sessions share, so that none masks a row twice."""
    with hands() as reader, reader.transaction():
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        row = reader.execute("SELECT pg_export_snapshot()").fetchone()
        yield str(row[0]) if row else ""


@contextmanager
def _telling(table: Table) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise _refused(table, error) from None


def _leave_out(opened: psycopg.Connection, table: Table, selection: Selection) -> None:
    """Remove the rows that are not taken."""
    if not selection.rows and not _number(opened, _REFERRED, table.oid):
        opened.execute(sql.SQL("TRUNCATE ONLY {}").format(table.identifier))
        opened.execute("DELETE FROM pg_statistic WHERE starelid = %s", [table.oid])
    elif not selection.rows or selection.where is not None:
        opened.execute(
            sql.SQL("DELETE FROM ONLY {} WHERE ({}) IS NOT TRUE").format(
                table.identifier, selection.where if selection.rows and selection.where else sql.SQL("false")
            )
        )


def _refused(table: Table, error: psycopg.Error) -> StepFailed:
    about = f" for '{error.diag.constraint_name}'" if error.diag.constraint_name else ""
    return StepFailed(f"masking {table.name}: the server refused it{about} (SQLSTATE {error.sqlstate})")


def _number(opened: psycopg.Connection, query: str, number: int) -> int:
    row = opened.execute(query, [number]).fetchone()
    return int(row[0]) if row else 0
