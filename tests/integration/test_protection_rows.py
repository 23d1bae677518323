"""Rows as a policy lets them leave the source: masked with the key, filtered with what refers to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from infra.postgres.classify import classify
from infra.postgres.compare import ready
from infra.postgres.conditions import check_conditions
from infra.postgres.reach import settle
from infra.postgres.schema import read_schema
from infra.postgres.selection import TableName
from infra.postgres.selections import selections
from infra.stack.cluster import Cluster
from tests.integration.protected_shop import KEY, POLICY, protection


def taken(session: psycopg.Connection, policy: str, table: str) -> list[dict[str, Any]]:
    """The rows of `table` as they would leave the source, in a session as copies open it."""
    schema = read_schema(session)
    selection = selections(protection(policy), schema)[TableName("public", table)]
    names = list(schema.tables[TableName("public", table)].columns)
    ready(session, KEY)
    rows = session.execute(
        SQL("SELECT {} FROM {} WHERE {}").format(
            SQL(", ").join(selection.columns.get(name, Identifier(name)) for name in names),
            Identifier("public", table),
            selection.where or SQL("true"),
        )
    ).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_masks_keep_formats_joins_and_nulls(protected: psycopg.Connection) -> None:
    customers = taken(protected, POLICY, "customer")
    by_id = {row["id"]: row for row in customers}
    assert len({row["email"] for row in customers}) == len(customers) == 201
    assert all(row["email"].endswith("@example.org") and len(row["email"]) <= 40 for row in customers)
    assert by_id[1]["phone"].startswith("+1-2")
    assert by_id[1]["zip"].isdigit()
    assert all(row["born"].year == 1950 + (row["id"] * 31) // 365.25 or row["id"] > 11 for row in customers
               if row["born"])  # fmt: skip
    assert by_id[5]["extra"] == {"email": by_id[5]["email"], "size": 5}
    assert all(len(tag) == 32 for tag in by_id[1]["tags"])
    # The first tag is the same word for everybody, and stays so.
    assert len({row["tags"][0] for row in customers if row["tags"]}) == 1
    assert all(0 <= row["score"] <= 99 for row in customers if row["score"] is not None)
    nulls = by_id[999]
    assert {nulls[name] for name in ("phone", "zip", "born", "seen", "score", "extra")} == {None}
    invoices = taken(protected, POLICY, "invoice")
    assert {row["mailed_to"] for row in invoices} - {None} <= {row["email"] for row in customers}


def test_another_key_gives_other_values(protected: psycopg.Connection) -> None:
    one = {row["email"] for row in taken(protected, POLICY, "customer")}
    ready(protected, KEY + "!")
    schema = read_schema(protected)
    column = selections(protection(POLICY), schema)[TableName("public", "customer")].columns["email"]
    two = {email for (email,) in protected.execute(SQL("SELECT {} FROM public.customer").format(column))}
    assert not one & two


def test_without_a_key_nothing_is_masked_and_nothing_leaves(
    protected: psycopg.Connection, live_cluster: Cluster
) -> None:
    column = selections(protection(POLICY), read_schema(protected))[TableName("public", "customer")].columns[
        "email"
    ]
    with (
        psycopg.connect(live_cluster.dsn(protected.info.dbname)) as session,
        pytest.raises(psycopg.errors.UndefinedObject),
    ):
        session.execute(SQL("SELECT {} FROM public.customer").format(column))


def related(rows: Sequence[dict[str, Any]], column: str) -> set[Any]:
    return {row[column] for row in rows} - {None}


def filtered(where: str, **changes: str) -> str:
    policy = POLICY.replace("  customer:\n", f"  customer:\n    where: {where}\n", 1)
    for old, new in changes.items():
        policy = policy.replace(old, new)
    return policy


def test_a_filtered_parent_filters_its_children_through_any_number_of_tables(
    protected: psycopg.Connection,
) -> None:
    policy = filtered("id % 2 = 0")
    assert classify(protection(policy), read_schema(protected)) == ()
    customers = taken(protected, policy, "customer")
    invoices = taken(protected, policy, "invoice")
    lines = taken(protected, policy, "line")
    assert len(customers) == 100
    assert related(invoices, "customer") <= related(customers, "id")
    assert len(invoices) == 201, "half of the invoices, and the one that refers to nobody"
    assert related(lines, "invoice") == related(invoices, "id")
    assert any(row["customer"] is None for row in invoices)


def test_a_reference_that_becomes_null_needs_no_filter(protected: psycopg.Connection) -> None:
    policy = filtered("id % 2 = 0").replace("customer: keep, amount", "customer: 'null', amount")
    assert len(taken(protected, policy, "invoice")) == 401


def test_partitions_follow_their_table(protected: psycopg.Connection) -> None:
    found = selections(protection(POLICY), read_schema(protected))
    leaf = found[TableName("public", "visit_2025")]
    assert leaf == found[TableName("public", "visit")]
    ready(protected, KEY)
    row = protected.execute(
        SQL("SELECT {} FROM public.visit_2025 LIMIT 1").format(leaf.columns["address"])
    ).fetchone()
    assert row is not None
    assert str(row[0]).startswith("2001:db8:")


def test_a_condition_that_the_source_refuses_is_told_before(protected: psycopg.Connection) -> None:
    schema = read_schema(protected)
    good, bad = (
        selections(protection(filtered(where)), schema) for where in ("id > 1", "no_such_column > 1")
    )
    settle(protected)
    assert check_conditions(protected, good, SecretStr(KEY)) == ()
    found = check_conditions(protected, bad, SecretStr(KEY))
    assert any('column "no_such_column" does not exist' in finding for finding in found)
