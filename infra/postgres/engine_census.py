"""A census of a server: what is in it, in a form that two major versions tell alike.

Invariant: only reads; a definition is counted by names and types, never by the words in which
a version prints it. What is counted stands in `engine_census.sql`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from psycopg.sql import SQL, Identifier

from infra.postgres.engine import Session

Census = Mapping[str, object]
"""Counts and fingerprints by the name of what they are of; JSON values."""

_FINGERPRINT = """
select count(*) || ' ' || md5(coalesce(string_agg(v, E'\\n' order by v collate "C"), '')) from ({}) t (v)
"""
_LARGE_OBJECTS = """
select coalesce(sum(n), 0) || ' ' || coalesce(string_agg(owner || ' ' || n, ' ' order by owner), '')
from (select pg_get_userbyid(lomowner)::text as owner, count(*) as n
      from pg_largeobject_metadata group by 1) t
"""
_COUNTED = """
select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1, 2
"""
_BARE = """
select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and c.reltuples <> 0 and pg_relation_size(c.oid) > 0
  and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
  and exists (select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
              and coalesce(a.attstattarget, -1) <> 0)
  and not exists (select from pg_statistic s where s.starelid = c.oid)
"""
_BARE_EXTENDED = """
select count(*) from pg_statistic_ext e join pg_class c on c.oid = e.stxrelid
where c.relkind in ('r', 'm') and c.reltuples <> 0 and pg_relation_size(c.oid) > 0
  and coalesce(to_jsonb(e) ->> 'stxstattarget', '-1') <> '0'
  and not exists (select from pg_statistic_ext_data d where d.stxoid = e.oid)
"""


def _queries() -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for block in Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").split("\n-- ")[1:]:
        title, _, query = block.partition("\n")
        place, _, what = title.partition(": ")
        found.setdefault(place, {})[what] = query.strip().rstrip(";")
    return found


def of_server(connection: Session) -> Census:
    """The census of what belongs to no database."""
    return {
        what: _one(connection, _FINGERPRINT.format(query)) for what, query in _queries()["server"].items()
    }


def of_database(connection: Session, *, rows: bool) -> Census:
    """The census of the session's database.

    Args:
        connection: the superuser's session.
        rows: count every row, for a way that writes each of them anew.
    """
    found: dict[str, object] = {
        what: _one(connection, _FINGERPRINT.format(query)) for what, query in _queries()["database"].items()
    }
    found["large objects"] = _one(connection, _LARGE_OBJECTS)
    if rows:
        total = 0
        for schema, table in connection.execute(_COUNTED).fetchall():
            counted = connection.execute(
                SQL("select count(*) from only {}").format(Identifier(str(schema), str(table)))
            ).fetchone()
            total += 0 if counted is None else int(str(counted[0]))
        found["rows"] = total
    return found


def without_statistics(connection: Session) -> int:
    """How many tables with rows, and how many extended statistics, the planner knows nothing of."""
    return int(_one(connection, _BARE)) + int(_one(connection, _BARE_EXTENDED))


def differences(before: Mapping[str, Census], after: Mapping[str, Census]) -> tuple[str, ...]:
    """What is not as it was, by place (a database, or the server); empty when all is."""
    found = []
    for place in sorted({*before, *after}):
        was, now = before.get(place), after.get(place)
        if was is None or now is None:
            found.append(f"{place} is {'gone' if now is None else 'new'}")
            continue
        found += [
            f"{place}: {what} were {_count(was.get(what))} and are {_count(now.get(what))}"
            for what in sorted({*was, *now})
            if was.get(what) != now.get(what)
        ]
    return tuple(found)


def _count(value: object) -> str:
    return "unknown" if value is None else str(value).split(" ", 1)[0]


def _one(connection: Session, query: str) -> str:
    row = connection.execute(query.encode()).fetchone()
    return "" if row is None else str(row[0])
