"""What a policy does to real values: masks without effect, keys without a rule, and a first draft."""

from __future__ import annotations

import psycopg

from infra.postgres.classify import classify
from infra.postgres.compare import ready
from infra.postgres.effect import effect, unknown_keys
from infra.postgres.schema import Schema, read_schema
from infra.postgres.selection import Selections
from infra.postgres.selections import selections
from infra.postgres.suggest import suggest_policy
from infra.stack.cluster import Cluster
from tests.integration.protected_shop import KEY, POLICY, protection
from tests.integration.scratch_database import scratch_database


def test_the_effect_on_real_values_is_measured(protected: psycopg.Connection) -> None:
    schema = read_schema(protected)
    ready(protected, KEY)
    found = {
        each.place: each for each in effect(protected, protection(POLICY), schema, chosen(POLICY, schema))
    }
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


def test_keys_without_a_rule_are_told(protected: psycopg.Connection) -> None:
    schema = read_schema(protected)
    (found,) = unknown_keys(protected, protection(POLICY), schema, chosen(POLICY, schema))
    assert (found.place, found.keys) == ("public.customer.extra", ("secret",))


def test_a_draft_is_a_policy_that_hides(protected: psycopg.Connection) -> None:
    schema = read_schema(protected)
    draft = suggest_policy(protected, schema)
    drafted = protection(draft)
    assert set(drafted.tables) == {(name.schema, name.table) for name in schema.tables}
    assert "      email: email\n" in draft
    assert "{json: {email: email, secret: token, size: free_text}, others: drop}" in draft
    assert not [finding for finding in classify(drafted, schema) if "have no rule" in finding]


def chosen(policy: str, schema: Schema) -> Selections:
    return selections(protection(policy), schema)
