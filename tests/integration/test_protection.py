"""The policy against live schemas: what it refuses, what it filters, and what its masks make of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from infra.postgres.catalog import LARGE_OBJECTS
from infra.postgres.classify import classify
from infra.postgres.compare import ready
from infra.postgres.conditions import check_conditions
from infra.postgres.effect import effect, unknown_keys
from infra.postgres.reach import settle
from infra.postgres.schema import Schema, read_schema
from infra.postgres.selection import Selections, TableName
from infra.postgres.selections import selections
from infra.postgres.suggest import suggest_policy
from infra.protection_file import parse_protection
from infra.stack.cluster import Cluster
from policy.errors import Refused
from policy.names import ApplicationName
from policy.protection import Protection
from tests.integration.scratch_database import scratch_database

KEY = "a key of at least sixteen characters"
SHOP = """
CREATE DOMAIN postcode_us AS varchar(10) CHECK (VALUE ~ '^[0-9]{5}$');
CREATE TYPE level AS ENUM ('low', 'high');
CREATE TABLE "Shop" (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Name" text NOT NULL, open boolean);
CREATE TABLE customer (
    id bigint PRIMARY KEY, shop integer NOT NULL REFERENCES "Shop", parent bigint,
    email varchar(40) UNIQUE NOT NULL, phone text, zip postcode_us, born date, seen timestamptz,
    tags text[], score smallint, level level, extra jsonb,
    shout text GENERATED ALWAYS AS (upper(email)) STORED);
CREATE TABLE invoice (
    id bigint PRIMARY KEY, customer bigint REFERENCES customer, amount numeric(10,2), mailed_to varchar(40));
CREATE TABLE line (
    invoice bigint NOT NULL REFERENCES invoice, n integer, note char(20), PRIMARY KEY (invoice, n));
CREATE TABLE visit (at date NOT NULL, customer bigint, address inet) PARTITION BY RANGE (at);
CREATE TABLE visit_2025 PARTITION OF visit FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE visit_2026 PARTITION OF visit FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
"""
ROWS = """
INSERT INTO "Shop" ("Name", open) VALUES ('North', true), ('South', false);
INSERT INTO customer SELECT n, 1 + n % 2, NULLIF(n - 1, 0), 'person' || n || '@customers.example.net',
    '+1 312 444 ' || n, '60601', date '1950-01-01' + n * 31, now() - n * interval '1 hour',
    ARRAY['vip', 'person' || n], n % 100, 'low',
    jsonb_build_object('email', 'person' || n || '@customers.example.net', 'size', n, 'secret', 'x')
    FROM generate_series(1, 200) AS n;
INSERT INTO customer (id, shop, email) VALUES (999, 1, 'nulls@customers.example.net');
INSERT INTO invoice SELECT n, 1 + n % 200, n, 'person' || (1 + n % 200) || '@customers.example.net'
    FROM generate_series(1, 400) AS n;
INSERT INTO invoice VALUES (1000, NULL, 1, NULL);
INSERT INTO line SELECT i, n, 'note ' || n
    FROM generate_series(1, 400) AS i, generate_series(1, 2) AS n;
INSERT INTO line VALUES (1000, 1, NULL);
INSERT INTO visit SELECT date '2025-06-01' + n * 3, n, ('10.0.0.' || n)::inet
    FROM generate_series(1, 100) AS n;
"""
POLICY = """
version: 1
tables:
  Shop: {columns: {id: keep, Name: keep, open: keep}}
  customer:
    columns:
      id: keep
      shop: keep
      parent: 'null'
      email: email
      phone: phone
      zip: postcode
      born: date_within_year
      seen: date_within_year
      tags: {each: token}
      score: {mask: number, from: 0, to: 99}
      level: keep
      extra: {json: {email: email, size: keep}}
  invoice: {columns: {id: keep, customer: keep, amount: keep, mailed_to: email}}
  line: {columns: {invoice: keep, n: keep, note: free_text}}
  visit: {columns: {at: keep, customer: keep, address: ip_address}}
"""


def protection(text: str) -> Protection:
    return parse_protection(ApplicationName("shop"), text, file="protection.yml")


@pytest.fixture(scope="module")
def shop(live_cluster: Cluster) -> Iterator[psycopg.Connection]:
    with scratch_database(live_cluster, SHOP, ROWS) as session:
        yield session


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


def without(policy: str, *lines: str) -> str:
    """The policy without some of its lines."""
    return "\n".join(line for line in policy.splitlines() if line.strip() not in lines)


def test_a_complete_policy_has_no_findings(shop: psycopg.Connection) -> None:
    assert classify(protection(POLICY), read_schema(shop)) == ()


def test_a_missing_column_is_told_with_the_text_to_add(shop: psycopg.Connection) -> None:
    policy = without(POLICY, "email: email", "tags: {each: token}")
    (finding,) = classify(protection(policy), read_schema(shop))
    assert "table public.customer: new columns have no rule" in finding
    assert "    customer:\n      columns:\n        email: email\n        tags: {each: free_text}" in finding


def test_a_missing_table_is_told_with_the_text_to_add(shop: psycopg.Connection) -> None:
    policy = without(POLICY, "Shop: {columns: {id: keep, Name: keep, open: keep}}")
    (finding,) = classify(protection(policy), read_schema(shop))
    assert '    "Shop":\n      columns:\n        id: keep\n        "Name": full_name\n' in finding


def test_what_was_printed_is_what_was_missing(shop: psycopg.Connection) -> None:
    """A policy made of nothing but the findings' own text covers the schema."""
    findings = classify(protection("version: 1\ntables: {}"), read_schema(shop))
    lines = [
        line for finding in findings for line in finding.splitlines()[2:] if not line.strip().startswith("#")
    ]
    drafted = protection("version: 1\ntables:\n" + "\n".join(lines))
    left = [finding for finding in classify(drafted, read_schema(shop)) if "have no rule" in finding]
    assert left == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("email: email", "email: given_name", "part of something unique"),
        ("email: email", "email: 'null'", "must not be NULL"),
        ("email: email", "email: {mask: email, domain: a-rather-long.example.org}", "too short for email"),
        ("born: date_within_year", "born: email", "does not fit its type date"),
        ("score: {mask: number, from: 0, to: 99}", "score: {json: {}}", "does not fit its type smallint"),
        ("id: keep, customer: keep, amount", "id: keep, customer: {mask: number, from: 1, to: 2}, amount",
         "would no longer find its row"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_hold_is_told(shop: psycopg.Connection, old: str, new: str, said: str) -> None:
    findings = classify(protection(POLICY.replace(old, new, 1)), read_schema(shop))
    assert any(said in finding for finding in findings), findings
    with pytest.raises(Refused):
        selections(protection(POLICY.replace(old, new, 1)), read_schema(shop))


def test_large_objects_need_a_word(live_cluster: Cluster) -> None:
    with scratch_database(live_cluster, "SELECT lo_from_bytea(0, 'raw')") as session:
        schema = read_schema(session)
        (finding,) = classify(protection("version: 1\ntables: {}"), schema)
        assert "large objects: the source has 1" in finding
        dropped = selections(protection("version: 1\nlarge_objects: drop\ntables: {}"), schema)
        assert dropped[LARGE_OBJECTS].rows is False


def test_freshets_own_schema_is_never_copied(live_cluster: Cluster) -> None:
    with scratch_database(
        live_cluster, "CREATE SCHEMA freshet; CREATE TABLE freshet.marker (a int)"
    ) as session:
        found = selections(protection("version: 1\ntables: {}"), read_schema(session))
        assert found[TableName("freshet", "marker")].rows is False


def test_masks_keep_formats_joins_and_nulls(shop: psycopg.Connection) -> None:
    customers = taken(shop, POLICY, "customer")
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
    invoices = taken(shop, POLICY, "invoice")
    assert {row["mailed_to"] for row in invoices} - {None} <= {row["email"] for row in customers}


def test_another_key_gives_other_values(shop: psycopg.Connection) -> None:
    one = {row["email"] for row in taken(shop, POLICY, "customer")}
    ready(shop, KEY + "!")
    schema = read_schema(shop)
    column = selections(protection(POLICY), schema)[TableName("public", "customer")].columns["email"]
    two = {email for (email,) in shop.execute(SQL("SELECT {} FROM public.customer").format(column))}
    assert not one & two


def test_without_a_key_nothing_is_masked_and_nothing_leaves(
    shop: psycopg.Connection, live_cluster: Cluster
) -> None:
    column = selections(protection(POLICY), read_schema(shop))[TableName("public", "customer")].columns[
        "email"
    ]
    with (
        psycopg.connect(live_cluster.dsn(shop.info.dbname)) as session,
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
    shop: psycopg.Connection,
) -> None:
    policy = filtered("id % 2 = 0")
    assert classify(protection(policy), read_schema(shop)) == ()
    customers = taken(shop, policy, "customer")
    invoices = taken(shop, policy, "invoice")
    lines = taken(shop, policy, "line")
    assert len(customers) == 100
    assert related(invoices, "customer") <= related(customers, "id")
    assert len(invoices) == 201, "half of the invoices, and the one that refers to nobody"
    assert related(lines, "invoice") == related(invoices, "id")
    assert any(row["customer"] is None for row in invoices)


def test_a_reference_that_becomes_null_needs_no_filter(shop: psycopg.Connection) -> None:
    policy = filtered("id % 2 = 0").replace("customer: keep, amount", "customer: 'null', amount")
    assert len(taken(shop, policy, "invoice")) == 401


def test_a_parent_that_arrives_empty_is_refused_with_the_remedy(shop: psycopg.Connection) -> None:
    policy = POLICY.replace("invoice: {columns: {id: keep, customer: keep, amount: keep, mailed_to: email}}",
                            "invoice: {rows: drop}")  # fmt: skip
    (finding,) = classify(protection(policy), read_schema(shop))
    assert "refers to public.invoice, which arrives empty; write `rows: drop` for public.line too" in finding


def test_a_circle_through_a_filtered_table_is_refused(live_cluster: Cluster) -> None:
    tables = "CREATE TABLE a (id int PRIMARY KEY, up int REFERENCES a)"
    with scratch_database(live_cluster, tables) as session:
        policy = "version: 1\ntables: {a: {where: id > 1, columns: {id: keep, up: %s}}}"
        (finding,) = classify(protection(policy % "keep"), read_schema(session))
        assert "form a circle through a filtered table" in finding
        assert classify(protection(policy % "'null'"), read_schema(session)) == ()


def test_partitions_follow_their_table(shop: psycopg.Connection) -> None:
    found = selections(protection(POLICY), read_schema(shop))
    leaf = found[TableName("public", "visit_2025")]
    assert leaf == found[TableName("public", "visit")]
    ready(shop, KEY)
    row = shop.execute(
        SQL("SELECT {} FROM public.visit_2025 LIMIT 1").format(leaf.columns["address"])
    ).fetchone()
    assert row is not None
    assert str(row[0]).startswith("2001:db8:")


def test_a_condition_that_the_source_refuses_is_told_before(shop: psycopg.Connection) -> None:
    schema = read_schema(shop)
    good, bad = (
        selections(protection(filtered(where)), schema) for where in ("id > 1", "no_such_column > 1")
    )
    settle(shop)
    assert check_conditions(shop, good, SecretStr(KEY)) == ()
    found = check_conditions(shop, bad, SecretStr(KEY))
    assert any('column "no_such_column" does not exist' in finding for finding in found)


def test_the_effect_on_real_values_is_measured(shop: psycopg.Connection) -> None:
    schema = read_schema(shop)
    ready(shop, KEY)
    found = {each.place: each for each in effect(shop, protection(POLICY), schema, chosen(POLICY, schema))}
    email = found["public.customer.email"]
    assert (email.values, email.unchanged, email.finding) == (201, 0, None)
    assert found["public.customer.extra -> email"].values == 200


def test_a_transformer_without_effect_is_told(live_cluster: Cluster) -> None:
    rows = "CREATE TABLE same AS SELECT n, 'always'::text AS word FROM generate_series(1, 50) AS n"
    with scratch_database(live_cluster, rows) as session:
        policy = "version: 1\ntables: {same: {columns: {n: keep, word: {mask: fixed, value: always}}}}"
        schema = read_schema(session)
        ready(session, KEY)
        (bad,) = effect(session, protection(policy), schema, chosen(policy, schema))
        assert "public.same.word: 50 of 50 sampled values come out unchanged" in str(bad.finding)


def test_keys_without_a_rule_are_told(shop: psycopg.Connection) -> None:
    schema = read_schema(shop)
    (found,) = unknown_keys(shop, protection(POLICY), schema, chosen(POLICY, schema))
    assert (found.place, found.keys) == ("public.customer.extra", ("secret",))


def test_a_draft_is_a_policy_that_hides(shop: psycopg.Connection) -> None:
    schema = read_schema(shop)
    draft = suggest_policy(shop, schema)
    drafted = protection(draft)
    assert set(drafted.tables) == {(name.schema, name.table) for name in schema.tables}
    assert "      email: email\n" in draft
    assert "{json: {email: email, secret: token, size: free_text}, others: drop}" in draft
    assert not [finding for finding in classify(drafted, schema) if "have no rule" in finding]


def chosen(policy: str, schema: Schema) -> Selections:
    return selections(protection(policy), schema)
