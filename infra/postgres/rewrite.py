"""Masks tables where they stand, in a private cluster, so that no page of before remains.

Only tables that a selection changes are touched: their rows are updated with the indexes at rest, those of
big tables by several sessions, and table and indexes are then written anew in one go. Other tables keep the
files of the base backup.

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

from infra.postgres.catalog import LARGE_OBJECTS, Table
from infra.postgres.methods import CopyJob
from infra.postgres.pool import Piece, Pool
from infra.postgres.progress import Meter, Watch
from infra.postgres.reach import settle
from infra.postgres.selection import Selection, TableName
from policy.errors import StepFailed

_REST = """
UPDATE pg_index SET indisready = false, indisvalid = false
 WHERE indrelid = %s AND indisready AND indisvalid AND indislive RETURNING indexrelid
"""
_WAKE = "UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = ANY (%s)"
_UNPROVEN = """
SELECT n.nspname, c.relname FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indrelid = %(table)s AND (i.indisunique OR i.indisexclusion)
   AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL OR EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid
           AND a.attnum = ANY (i.indkey::int2[]) AND a.attname = ANY (%(columns)s)))
"""
_REFERRED = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = %s"
_FOREIGN_KEYS = """
WITH masked AS (
    SELECT a.attrelid, a.attnum FROM unnest(%(tables)s::oid[], %(columns)s::text[]) AS m(number, name)
      JOIN pg_attribute a ON a.attrelid = m.number AND a.attname = m.name)
SELECT c.oid, n.nspname, t.relname, c.conname
  FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
 WHERE c.contype = 'f' AND c.convalidated AND t.relkind = 'r'
   AND (c.confrelid = ANY (%(fewer)s)
        OR EXISTS (SELECT FROM masked WHERE (attrelid = c.conrelid AND attnum = ANY (c.conkey))
                                         OR (attrelid = c.confrelid AND attnum = ANY (c.confkey))))
"""
"""Those that masking or leaving out rows could have broken; the others hold as they did in the source."""
_VIEWS = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'm' AND c.relispopulated ORDER BY c.oid
"""
_PAGES = "SELECT pg_relation_size(%s::oid) / current_setting('block_size')::int"
_WORTH_SHARING = 32 << 20
"""From this stored size on several sessions mask a table together."""

_VACUUM = sql.SQL("VACUUM (FULL, ANALYZE) {}")


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
        with _telling(table):
            opened.execute(_VACUUM.format(table.identifier))
            # That builds indexes without asking whether they are unique.
            columns = list(taken[table.name].columns)
            for name in opened.execute(_UNPROVEN, {"table": table.oid, "columns": columns}).fetchall():
                opened.execute(sql.SQL("REINDEX INDEX {}").format(sql.Identifier(*name)))
        meter.finished(table.index_bytes)
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
    masked = [table for table in work if taken[table.name].rows and taken[table.name].columns]
    with _at_rest(hands, masked) as snapshot, hands() as counter:
        parts = [part for table in masked for part in _parts(counter, table, job.jobs, snapshot)]
        together(Piece(path=int(weigh(part.table) * part.share), act=partial(mask, part)) for part in parts)
    together(Piece(path=weigh(table), act=partial(condense, table)) for table in work)
    opened = hands()
    try:
        _aftermath(opened, work, taken)
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


@contextmanager
def _at_rest(hands: Callable[[], psycopg.Connection], tables: Sequence[Table]) -> Iterator[str]:
    """A snapshot that sessions share, while the indexes of `tables` rest: they are made anew afterwards."""
    with hands() as keeper, hands() as reader:
        resting = [number for table in tables for (number,) in keeper.execute(_REST, [table.oid]).fetchall()]
        with reader.transaction():
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            row = reader.execute("SELECT pg_export_snapshot()").fetchone()
            yield str(row[0]) if row else ""
        keeper.execute(_WAKE, [resting])


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


def _aftermath(
    opened: psycopg.Connection, work: Sequence[Table], taken: Mapping[TableName, Selection]
) -> None:
    """Everything that was made from the rows of before is made anew."""
    masked = [(table.oid, name) for table in work for name in taken[table.name].columns]
    told = {
        "tables": [number for number, _ in masked],
        "columns": [name for _, name in masked],
        "fewer": [
            table.oid for table in work if not taken[table.name].rows or taken[table.name].where is not None
        ],
    }
    for number, schema, table, name in opened.execute(_FOREIGN_KEYS, told).fetchall():
        opened.execute("UPDATE pg_constraint SET convalidated = false WHERE oid = %s", [number])
        try:
            opened.execute(
                sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(
                    sql.Identifier(schema, table), sql.Identifier(name)
                )
            )
        except psycopg.errors.ForeignKeyViolation:
            raise StepFailed(f"masking broke foreign key '{name}' of {schema}.{table}") from None
    large = taken.get(LARGE_OBJECTS)
    if large is not None and (not large.rows or large.where is not None):
        kept = large.where if large.rows and large.where is not None else sql.SQL("false")
        opened.execute(
            sql.SQL(
                "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid NOT IN "
                "(SELECT loid FROM pg_largeobject WHERE {})"
            ).format(kept)
        )
        opened.execute("VACUUM FULL pg_largeobject")
    for schema, name in opened.execute(_VIEWS).fetchall():
        opened.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(schema, name)))
        opened.execute(_VACUUM.format(sql.Identifier(schema, name)))
    for catalog in ("pg_statistic", "pg_statistic_ext_data"):
        opened.execute(sql.SQL("VACUUM FULL {}").format(sql.Identifier("pg_catalog", catalog)))


def _refused(table: Table, error: psycopg.Error) -> StepFailed:
    about = f" for '{error.diag.constraint_name}'" if error.diag.constraint_name else ""
    return StepFailed(f"masking {table.name}: the server refused it{about} (SQLSTATE {error.sqlstate})")


def _number(opened: psycopg.Connection, query: str, number: int) -> int:
    row = opened.execute(query, [number]).fetchone()
    return int(row[0]) if row else 0
