"""The transformers over any value: the right form, the same for the same, fitting, NULL staying NULL.

The expressions are evaluated by a real server; values travel in an array, many at a time.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Composable, Literal

from infra.postgres.compare import ready
from infra.postgres.mask_json import json_expression
from infra.postgres.mask_sql import column_expression
from infra.postgres.mask_text import text_expression
from infra.postgres.schema import Column
from infra.stack.cluster import Cluster
from policy.masks import DEFAULT_PATTERNS, FACTS, Family, Mask
from policy.protection import Each, JsonKeys, Keep, MaskWith, Others, Rule

KEY = "a key of at least sixteen characters"
FORMS = {
    Mask.EMAIL: r"u[0-9a-f]{20}@example\.org",
    Mask.PHONE: r"\+1-2\d\d-555-01\d\d",
    Mask.POSTCODE: r"\d{5}",
    Mask.GIVEN_NAME: r"[A-Z][a-z]+",
    Mask.FAMILY_NAME: r"[A-Z][a-z]+",
    Mask.FULL_NAME: r"[A-Z][a-z]+ [A-Z][a-z]+",
    Mask.STREET: r"\d{1,3} [A-Z][a-z]+ Street",
    Mask.NUMBER: r"-?\d+",
    Mask.UUID: r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}",
    Mask.TOKEN: r"[0-9a-f]{32}",
    Mask.IP_ADDRESS: r"2001:db8:[0-9a-f]{4}(:[0-9a-f]{4}){5}",
    Mask.FIXED: "the same for all",
}
TEXT = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
TEXTS = st.lists(st.none() | TEXT, min_size=1, max_size=30)
COLLECTED = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rule(mask: Mask, **options: Any) -> MaskWith:  # noqa: ANN401 - the options of any mask
    given_options: dict[str, Any] = {
        "like": DEFAULT_PATTERNS.get(mask, ""),
        "domain": "example.org" if mask is Mask.EMAIL else "",
        "value": "the same for all" if mask is Mask.FIXED else "",
        "low": -5 if mask is Mask.NUMBER else 0,
        "high": 5 if mask is Mask.NUMBER else 0,
        **options,
    }
    return MaskWith(mask=mask, **given_options)


@pytest.fixture(scope="module")
def session(live_cluster: Cluster) -> Iterator[psycopg.Connection]:
    with psycopg.connect(live_cluster.dsn(), autocommit=True) as connection:
        ready(connection, KEY)
        yield connection


def masked(session: psycopg.Connection, expression: Composable, values: list[Any], kind: str) -> list[Any]:
    rows = session.execute(
        SQL("SELECT {} FROM unnest({}::{}[]) WITH ORDINALITY AS given(v, place) ORDER BY place").format(
            expression, Literal(values), SQL(kind)
        )
    ).fetchall()
    return [value for (value,) in rows]


@pytest.mark.parametrize("mask", FORMS)
@COLLECTED
@given(values=TEXTS)
def test_every_text_gets_the_form_that_was_promised(
    session: psycopg.Connection, mask: Mask, values: list[str | None]
) -> None:
    expression = text_expression(SQL("v"), rule(mask))
    results = masked(session, expression, values, "text")
    for value, result in zip(values, results, strict=True):
        assert (result is None) == (value is None)
        assert result is None or re.fullmatch(FORMS[mask], result), result
    assert masked(session, expression, values, "text") == results
    if FACTS[mask].distinct:
        known = {value for value in values if value is not None}
        assert len({result for result in results if result is not None}) == len(known)


@pytest.mark.parametrize("mask", [mask for mask in Mask if Family.TEXT in FACTS[mask].takes])
@COLLECTED
@given(values=TEXTS, room=st.integers(min_value=1, max_value=60))
def test_no_result_is_longer_than_the_column(
    session: psycopg.Connection, mask: Mask, values: list[str | None], room: int
) -> None:
    if mask is Mask.FREE_TEXT:
        values = [value and value[:room] for value in values]
    made = text_expression(SQL("v"), rule(mask), length=room)
    assert all(value is None or len(value) <= room for value in masked(session, made, values, "text"))


@COLLECTED
@given(values=TEXTS)
def test_free_text_keeps_its_length_and_nothing_else(
    session: psycopg.Connection, values: list[str | None]
) -> None:
    results = masked(session, text_expression(SQL("v"), rule(Mask.FREE_TEXT)), values, "text")
    assert [None if value is None else len(value) for value in values] == [
        None if value is None else len(value) for value in results
    ]
    assert len({result[:1] for result in results if result}) <= 1


@COLLECTED
@given(names=st.lists(TEXT, min_size=1, max_size=10), spare=st.lists(TEXT, max_size=3))
def test_a_prefix_stays_and_what_is_spared_stays(
    session: psycopg.Connection, names: list[str], spare: list[str]
) -> None:
    keep = rule(Mask.EMAIL, after="account:", spare=tuple(spare), others=Others.KEEP)
    values = [f"account:{name}" for name in names] + names
    results = masked(session, text_expression(SQL("v"), keep), values, "text")
    plain = masked(session, text_expression(SQL("v"), rule(Mask.EMAIL)), names, "text")
    for name, result, alone in zip(names, results, plain, strict=False):
        assert result == f"account:{name}" if name in spare else result == f"account:{alone}"
    for name, result in zip(names, results[len(names) :], strict=True):
        if not name.startswith("account:"):
            assert result == name


def column(kind: str, family: Family) -> Column:
    return Column(
        name="v",
        type_name=kind,
        base=kind,
        family=family,
        length=None,
        required=False,
        generated=False,
        unique=False,
    )


def expression(kind: str, family: Family, given_rule: Rule) -> Composable:
    made = column_expression(column(kind, family), given_rule)
    assert made is not None
    return made


DAYS = st.dates()


@COLLECTED
@given(values=st.lists(st.none() | DAYS, min_size=1, max_size=30))
def test_a_date_stays_within_its_year(session: psycopg.Connection, values: list[Any]) -> None:
    made = expression("date", Family.DATE, rule(Mask.DATE_WITHIN_YEAR))
    results = masked(session, made, values, "date")
    assert [value and value.year for value in values] == [result and result.year for result in results]
    texts = [value and value.isoformat() for value in values]
    as_text = masked(session, text_expression(SQL("v"), rule(Mask.DATE_WITHIN_YEAR)), texts, "text")
    assert [value and value[:4] for value in texts] == [result and result[:4] for result in as_text]
    assert all(result is None or re.fullmatch(r"\d{4}-\d{2}-\d{2}", result) for result in as_text)


def test_endless_dates_stay_endless(session: psycopg.Connection) -> None:
    for kind, family in (("date", Family.DATE), ("timestamptz", Family.TIMESTAMP)):
        made = expression(kind, family, rule(Mask.DATE_WITHIN_YEAR))
        for word in ("infinity", "-infinity"):
            row = session.execute(
                SQL("SELECT ({})::text FROM (SELECT %s::{} AS v) AS one").format(made, SQL(kind)), [word]
            ).fetchone()
            assert row == (word,)


@COLLECTED
@given(values=st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=30))
def test_a_number_stays_within_its_bounds(session: psycopg.Connection, values: list[int | None]) -> None:
    results = masked(session, expression("integer", Family.INTEGER, rule(Mask.NUMBER)), values, "integer")
    assert [value is None for value in values] == [result is None for result in results]
    assert all(result is None or -5 <= result <= 5 for result in results)


def test_a_text_that_is_no_date_becomes_null(session: psycopg.Connection) -> None:
    made = text_expression(SQL("v"), rule(Mask.DATE_WITHIN_YEAR))
    assert masked(session, made, ["born in May", "", "12.3.2011"], "text") == [None, None, None]


JSON_TEXT = st.text(alphabet=string.printable, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | JSON_TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["email", "kept", "deep", "list", "other", "raw"]), inner, max_size=6
        )
    ),
    max_leaves=20,
)
DEEP: Rule = JsonKeys(
    keys={
        "email": rule(Mask.EMAIL),
        "kept": Keep(),
        "deep": JsonKeys(keys={"email": rule(Mask.EMAIL), "list": Each(rule=rule(Mask.TOKEN))}),
        "list": Each(rule=JsonKeys(keys={"email": rule(Mask.EMAIL)})),
    }
)


@COLLECTED
@given(values=st.lists(JSON, min_size=1, max_size=15))
def test_json_holds_the_known_keys_and_nothing_else(session: psycopg.Connection, values: list[Any]) -> None:
    texts = [json.dumps(value) for value in values]
    results = masked(session, json_expression(SQL("v"), DEEP), texts, "jsonb")
    for value, result in zip(values, results, strict=True):
        if not isinstance(value, dict):
            assert result is None
            continue
        assert set(result) == set(value) & {"email", "kept", "deep", "list"}
        assert result.get("kept") == value.get("kept")
        if value.get("email") is not None:
            assert re.fullmatch(FORMS[Mask.EMAIL], result["email"])
        if isinstance(value.get("deep"), dict):
            assert set(result["deep"]) == set(value["deep"]) & {"email", "list"}
        if isinstance(value.get("list"), list):
            assert len(result["list"]) == len(value["list"])
            assert all(inner is None or set(inner) <= {"email"} for inner in result["list"])


def test_null_is_null_and_json_null_is_json_null(session: psycopg.Connection) -> None:
    assert masked(session, json_expression(SQL("v"), DEEP), [None], "jsonb") == [None]
    row = session.execute(
        SQL("SELECT {}::text FROM (SELECT 'null'::jsonb AS v) AS one").format(json_expression(SQL("v"), DEEP))
    ).fetchone()
    assert row == ("null",)


def test_a_policy_with_very_many_keys_is_one_expression(session: psycopg.Connection) -> None:
    wide = JsonKeys(keys={f"k{n}": rule(Mask.TOKEN) for n in range(120)})
    value = {f"k{n}": str(n) for n in range(0, 130, 2)}
    (result,) = masked(session, json_expression(SQL("v"), wide), [json.dumps(value)], "jsonb")
    assert set(result) == {f"k{n}" for n in range(0, 120, 2)}


@pytest.mark.slow
@pytest.mark.parametrize("mask", [mask for mask in Mask if FACTS[mask].distinct])
def test_a_million_values_stay_distinct(session: psycopg.Connection, mask: Mask) -> None:
    made = text_expression(SQL("v"), rule(mask))
    row = session.execute(
        SQL(
            "SELECT count(DISTINCT {}) "
            "FROM (SELECT 'person' || n AS v FROM generate_series(1, 1000000) AS n) AS t"
        ).format(made)
    ).fetchone()
    assert row == (1_000_000,)
