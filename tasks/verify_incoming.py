"""Verify the closed incoming database before anybody can reach it: masked, neutral, complete, marked.

Invariant: only looks. One finding is enough to end the run with the target untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psycopg
from psycopg.sql import SQL, Identifier

from infra.postgres.compare import Compared, compare, ready
from infra.postgres.incoming import is_closed
from infra.postgres.leak_probe import leak_probe
from infra.postgres.marker import read_marker
from infra.postgres.neutralise import Places
from infra.postgres.preserve import compare_kept
from infra.postgres.schema import Schema, read_schema
from infra.postgres.selection import Selections
from infra.postgres.selections import selections
from policy.errors import StepFailed
from tasks.pair import Pair, pair
from tasks.step import Step, Work


def _done(_work: Work) -> bool:
    return False


def _do(work: Work) -> Mapping[str, object]:
    ends = pair(work)
    protection = ends.protection()
    places = Places.of(ends.source.site, ends.target.site)
    # Sites on one address cannot be told apart by it.
    strings = [places.source_host] if places.source_host != places.target_host else []
    with ends.on_source() as source, ends.on_target() as target, ends.on_incoming() as incoming:
        schema = read_schema(source)
        taken = selections(protection, schema)
        key = ends.key().get_secret_value()
        ready(source, key)
        ready(incoming, key)
        compared = compare(source, incoming, protection=protection, schema=schema, selections=taken)
        missing = list(_empty(source, incoming, schema, taken))
        probe = leak_probe(incoming, protection, strings=strings)
        kept = compare_kept(target, incoming, protection)
    findings = [
        *_standing(ends),
        *(str(leak) for leak in compared.leaks),
        *(str(leak) for leak in probe.leaks),
        *missing,
        *(
            f"preserve: {each.rows - each.equal} of the site's own rows of {each.table} are not in the copy"
            for each in kept
            if each.equal < each.rows
        ),
    ]
    if findings:
        raise StepFailed("the copy was not let in: " + "; ".join(findings))
    return {
        "leak_probe": probe.facts(),
        "compared": _compared(compared),
        "kept": [each.facts() for each in kept],
    }


def _standing(ends: Pair) -> Iterator[str]:
    with ends.on_server() as server:
        if not is_closed(server, ends.incoming):
            yield f"database '{ends.incoming}' is not closed: others than its owner may connect"
    with ends.on_incoming() as incoming:
        marker = read_marker(incoming)
    if marker is None or marker.site != ends.target.site.id or marker.run != ends.work.run:
        yield f"database '{ends.incoming}' does not say that it is {ends.target.site.id} of {ends.work.run}"


def _empty(
    source: psycopg.Connection, incoming: psycopg.Connection, schema: Schema, taken: Selections
) -> Iterator[str]:
    """Tables that are taken whole, hold rows in Production and arrived without any."""
    arrived = read_schema(incoming).tables
    for table in schema.tables.values():
        selection = taken[table.name]
        # A migration to a newer release may have taken a table away since.
        if not selection.rows or selection.where is not None or table.name not in arrived:
            continue
        asked = SQL("SELECT EXISTS (SELECT FROM {})").format(Identifier(table.name.schema, table.name.table))
        if source.execute(asked).fetchone() == (True,) and incoming.execute(asked).fetchone() == (False,):
            yield f"table {table.name}: it holds rows in Production and none in the copy"


def _compared(compared: Compared) -> Mapping[str, object]:
    return {"values": compared.values, "tables": compared.tables, "originals": len(compared.leaks)}


def _undo(work: Work) -> None:
    """Looking changed nothing."""


verify_incoming = Step(name="verify_incoming", title="Verify the copy", done=_done, do=_do, undo=_undo)
