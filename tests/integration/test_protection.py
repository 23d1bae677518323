"""The policy against live schemas: what has no rule, and what a rule cannot hold, is told with its remedy."""

from __future__ import annotations

import psycopg
import pytest

from infra.postgres.catalog import LARGE_OBJECTS
from infra.postgres.classify import classify
from infra.postgres.schema import read_schema
from infra.postgres.selection import TableName
from infra.postgres.selections import selections
from infra.stack.cluster import Cluster
from policy.errors import Refused
from tests.integration.protected_shop import POLICY, protection
from tests.integration.scratch_database import scratch_database


def without(policy: str, *lines: str) -> str:
    """The policy without some of its lines."""
    return "\n".join(line for line in policy.splitlines() if line.strip() not in lines)


def test_a_complete_policy_has_no_findings(protected: psycopg.Connection) -> None:
    assert classify(protection(POLICY), read_schema(protected)) == ()


def test_a_missing_column_is_told_with_the_text_to_add(protected: psycopg.Connection) -> None:
    policy = without(POLICY, "email: email", "tags: {each: token}")
    (finding,) = classify(protection(policy), read_schema(protected))
    assert "table public.customer: new columns have no rule" in finding
    assert "    customer:\n      columns:\n        email: email\n        tags: {each: free_text}" in finding


def test_a_missing_table_is_told_with_the_text_to_add(protected: psycopg.Connection) -> None:
    policy = without(POLICY, "Shop: {columns: {id: keep, Name: keep, open: keep}}")
    (finding,) = classify(protection(policy), read_schema(protected))
    assert '    "Shop":\n      columns:\n        id: keep\n        "Name": full_name\n' in finding


def test_what_was_printed_is_what_was_missing(protected: psycopg.Connection) -> None:
    """A policy made of nothing but the findings' own text covers the schema."""
    findings = classify(protection("version: 1\ntables: {}"), read_schema(protected))
    lines = [
        line for finding in findings for line in finding.splitlines()[2:] if not line.strip().startswith("#")
    ]
    drafted = protection("version: 1\ntables:\n" + "\n".join(lines))
    left = [finding for finding in classify(drafted, read_schema(protected)) if "have no rule" in finding]
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
def test_a_rule_that_cannot_hold_is_told(
    protected: psycopg.Connection, old: str, new: str, said: str
) -> None:
    findings = classify(protection(POLICY.replace(old, new, 1)), read_schema(protected))
    assert any(said in finding for finding in findings), findings
    with pytest.raises(Refused):
        selections(protection(POLICY.replace(old, new, 1)), read_schema(protected))


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


def test_a_parent_that_arrives_empty_is_refused_with_the_remedy(protected: psycopg.Connection) -> None:
    policy = POLICY.replace("invoice: {columns: {id: keep, customer: keep, amount: keep, mailed_to: email}}",
                            "invoice: {rows: drop}")  # fmt: skip
    (finding,) = classify(protection(policy), read_schema(protected))
    assert "refers to public.invoice, which arrives empty; write `rows: drop` for public.line too" in finding


def test_a_circle_through_a_filtered_table_is_refused(live_cluster: Cluster) -> None:
    tables = "CREATE TABLE a (id int PRIMARY KEY, up int REFERENCES a)"
    with scratch_database(live_cluster, tables) as session:
        policy = "version: 1\ntables: {a: {where: id > 1, columns: {id: keep, up: %s}}}"
        (finding,) = classify(protection(policy % "keep"), read_schema(session))
        assert "form a circle through a filtered table" in finding
        assert classify(protection(policy % "'null'"), read_schema(session)) == ()
