"""Proves that a copy holds nothing of Production that must not be in it, and everything that must.

Invariant: it only reads, and every finding is told. A copy that was proven stays proven as long as nothing is
written to it: that is why a golden image is proven once, and its clones only where rows were added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from infra.postgres.compare import compare, ready
from infra.postgres.kept_rows import compare_kept
from infra.postgres.leak_probe import as_patterns, leak_probe
from infra.postgres.neutralise import Places
from infra.postgres.schema import Schema, read_schema
from infra.postgres.selection import Selections
from infra.postgres.selections import selections
from policy.protection import Protection


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was found.

    Attributes:
        findings: empty when the copy may be let in.
        facts: for the journal and the report.
    """

    findings: tuple[str, ...]
    facts: Mapping[str, object]


def prove_copy(
    source: psycopg.Connection[Any],
    incoming: psycopg.Connection[Any],
    protection: Protection,
    places: Places,
    key: SecretStr,
) -> Proof:
    """Prove a whole copy: masked, neutral, complete.

    Args:
        source: in Production, as the reader.
        incoming: in the closed copy, as its owner.
        protection: the application's policy.
        places: Production's and the target's addresses.
        key: the customer's masking key.

    Raises:
        StepFailed: a question was not answered, so the copy is not proven.
    """
    schema = read_schema(source)
    taken = selections(protection, schema)
    ready(source, key.get_secret_value())
    ready(incoming, key.get_secret_value())
    compared = compare(source, incoming, protection=protection, schema=schema, selections=taken)
    missing = list(_empty(source, incoming, schema, taken))
    probe = leak_probe(incoming, protection, strings=names_of_production(places))
    return Proof(
        findings=(*map(str, compared.leaks), *map(str, probe.leaks), *missing),
        facts={
            "leak_probe": probe.facts(),
            "compared": {
                "values": compared.values,
                "tables": compared.tables,
                "originals": len(compared.leaks),
            },
        },
    )


def prove_clone(incoming: psycopg.Connection[Any], protection: Protection, places: Places) -> Proof:
    """Prove what may differ in a clone of a proven image: what stands in catalogs and settings.

    The rows that were added to it are proven with `prove_kept`.
    """
    probe = leak_probe(incoming, protection, strings=names_of_production(places), rows=False)
    return Proof(
        findings=tuple(map(str, probe.leaks)),
        facts={"leak_probe": {**probe.facts(), "rows": "probed when the golden image was built"}},
    )


def prove_kept(
    target: psycopg.Connection[Any],
    incoming: psycopg.Connection[Any],
    protection: Protection,
    places: Places,
) -> Proof:
    """Prove that the target's own rows arrived as they are, and name nothing of Production."""
    patterns = (*as_patterns(names_of_production(places)), *protection.forbidden)
    kept = compare_kept(target, incoming, protection, patterns=patterns)
    return Proof(
        findings=(
            *(str(leak) for each in kept for leak in each.leaks),
            *(
                f"preserve: {each.rows - each.equal} of the site's own rows of {each.table} "
                "are not in the copy"
                for each in kept
                if each.equal < each.rows
            ),
        ),
        facts={"kept": [each.facts() for each in kept]},
    )


def names_of_production(places: Places) -> Sequence[str]:
    """Texts that must not occur anywhere; sites on one address cannot be told apart by it."""
    return [places.source_host] if places.source_host != places.target_host else []


def _empty(
    source: psycopg.Connection[Any], incoming: psycopg.Connection[Any], schema: Schema, taken: Selections
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
