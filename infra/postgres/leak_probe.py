"""Looks in the closed incoming database for what must not be there, before anybody can reach it.

Invariant: it only reads, and its evidence names places (table, row position, which pattern), never a value.
What it did not look at is said: a table above `WHOLE_BELOW` is sampled, and the report tells the share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from infra.postgres.reach import settle
from infra.postgres.schema import Table, read_schema
from infra.postgres.selection import TableName
from policy.errors import StepFailed
from policy.masks import Family
from policy.protection import OWN_SCHEMA, Forbidden, Protection

WHOLE_BELOW = 256 << 20
"""Bytes; a larger table is sampled down to about this much."""

MAY_HOLD_TEXT = {Family.TEXT, Family.JSON, Family.ARRAY, Family.OTHER}
_MOST_PLACES = 3


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Something that must not be in a copy: which rule it breaks, and where."""

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where}"


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """What the probe found and how much it looked at.

    Attributes:
        leaks: empty when the copy is clean.
        tables: how many were looked at.
        sampled: share of each table that was not looked at wholly, by name.
        checks: how many patterns, statements and standing checks were tried.
    """

    leaks: tuple[Leak, ...]
    tables: int
    sampled: dict[str, float]
    checks: int

    def facts(self) -> dict[str, object]:
        """For the journal and the report."""
        return {
            "leaks": [str(leak) for leak in self.leaks],
            "tables": self.tables,
            "sampled": self.sampled,
            "checks": self.checks,
        }


def leak_probe(
    connection: psycopg.Connection[Any],
    protection: Protection,
    *,
    strings: Sequence[str] = (),
    whole_below: int = WHOLE_BELOW,
    rows: bool = True,
) -> ProbeReport:
    """Look for leaks in the database of `connection`.

    Args:
        connection: in the incoming database, as its owner.
        protection: what the application forbids.
        strings: texts that must not occur anywhere, such as Production's host name.
        whole_below: tables up to so many bytes are read wholly.
        rows: look at rows too; not needed for those that come from a golden image, which was probed.

    Raises:
        StepFailed: the database did not answer a question, so it is not proven clean.
    """
    try:
        return _probe(connection, protection, strings, whole_below, rows=rows)
    except psycopg.Error as error:
        words = error.diag.message_primary or type(error).__name__
        raise StepFailed(f"the copy could not be probed for leaks: {words}") from error


def _probe(
    connection: psycopg.Connection[Any],
    protection: Protection,
    strings: Sequence[str],
    whole_below: int,
    *,
    rows: bool,
) -> ProbeReport:
    with connection.transaction():
        settle(connection, search_path="public")
    patterns = (*as_patterns(strings), *protection.forbidden) if rows else ()
    leaks = list(_standing(connection))
    if rows:
        leaks.extend(_probes(connection, protection))
    schema = read_schema(connection)
    sampled: dict[str, float] = {}
    tables = [table for table in schema.tables.values() if table.name.schema != OWN_SCHEMA]
    for table in tables if patterns else ():
        share = _share(connection, table, whole_below)
        if share < 1:
            sampled[str(table.name)] = round(share, 4)
        leaks.extend(_rows(connection, table, patterns, share))
    leaks.extend(_routines(connection, strings))
    connection.rollback()
    return ProbeReport(
        leaks=tuple(leaks),
        tables=len(tables) if patterns else 0,
        sampled=sampled,
        checks=len(patterns) + (len(protection.probes) if rows else 0) + len(_STANDING),
    )


def as_patterns(strings: Sequence[str]) -> tuple[Forbidden, ...]:
    """Patterns that match nothing but these texts."""
    special = set(r".^$*+?()[]{}|\-")
    return tuple(
        Forbidden(
            title="a name of Production", pattern="".join("\\" + c if c in special else c for c in text)
        )
        for text in strings
        if text
    )


def _rows(
    connection: psycopg.Connection[Any], table: Table, patterns: Sequence[Forbidden], share: float
) -> Iterator[Leak]:
    texts = [
        SQL("{}::text").format(Identifier(column.name))
        for column in table.columns.values()
        if column.family in MAY_HOLD_TEXT
    ]
    if not texts:
        return
    for text in texts:
        found = connection.execute(_search(table.name, text, patterns, share)).fetchall()
        for place, *hits in found:
            for forbidden, hit in zip(patterns, hits, strict=True):
                if hit:
                    yield Leak(what=forbidden.title, where=f"{table.name}, row at {place}")


def _search(table: TableName, text: Composable, patterns: Sequence[Forbidden], share: float) -> Composed:
    hits = [SQL("{} ~ {}").format(text, Literal(each.pattern)) for each in patterns]
    sample = (
        SQL(" TABLESAMPLE SYSTEM ({}) REPEATABLE (0)").format(Literal(share * 100)) if share < 1 else SQL("")
    )
    return SQL("SELECT tableoid::regclass::text || ' ' || ctid::text, {} FROM {}{} WHERE {} LIMIT {}").format(
        SQL(", ").join(hits),
        Identifier(table.schema, table.table),
        sample,
        SQL(" OR ").join(hits),
        Literal(_MOST_PLACES),
    )


def _share(connection: psycopg.Connection[Any], table: Table, whole_below: int) -> float:
    names = [Identifier(n.schema, n.table).as_string(connection) for n in (table.name, *table.leaves)]
    row = connection.execute(
        "SELECT sum(pg_table_size(n::regclass)) FROM unnest(%s::text[]) AS n", [names]
    ).fetchone()
    size = int(row[0]) if row and row[0] else 0
    return 1.0 if size <= whole_below else whole_below / size


def _probes(connection: psycopg.Connection[Any], protection: Protection) -> Iterator[Leak]:
    for probe in protection.probes:
        with connection.cursor() as cursor:
            cursor.execute(probe.sql.encode())
            count = len(cursor.fetchmany(1000))
        if count:
            yield Leak(what=probe.title, where=f"{count} rows")


_STANDING = {
    "an event trigger is enabled": "SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'D'",
    "a password for a foreign server is stored": "SELECT srvname FROM pg_user_mappings",
    "a subscription reads from a publisher": "SELECT subname FROM pg_subscription s "
    "JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()",
    "everybody may connect": "SELECT d.datname FROM pg_database d, "
    "aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a "
    "WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'CONNECT'",
}


def _standing(connection: psycopg.Connection[Any]) -> Iterator[Leak]:
    for what, statement in _STANDING.items():
        for (name,) in connection.execute(statement).fetchall():
            yield Leak(what=what, where=str(name))
    if connection.execute("SELECT to_regclass('cron.job') IS NOT NULL").fetchone() == (True,):
        for (job,) in connection.execute("SELECT jobid FROM cron.job WHERE active").fetchall():
            yield Leak(what="a scheduled job is active", where=f"cron.job {job}")


def _routines(connection: psycopg.Connection[Any], strings: Sequence[str]) -> Iterator[Leak]:
    """Names of Production inside functions and views: schema, so the copy carries them as they are."""
    for text in strings:
        if not text:
            continue
        rows = connection.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
            "WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND strpos(p.prosrc, %s) > 0 "
            "UNION ALL SELECT schemaname || '.' || viewname FROM pg_views "
            "WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema' "
            "AND strpos(definition, %s) > 0",
            [text, text],
        ).fetchall()
        for (name,) in rows:
            yield Leak(what="a name of Production in a function or view", where=name)
