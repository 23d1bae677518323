"""`protection.yml` at the door: what is written is what is meant, and every mistake is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.plain_yaml import LARGEST, parse
from infra.protection_file import ROLES, load_protection, parse_protection
from policy.errors import Refused
from policy.masks import Mask
from policy.names import ApplicationName
from policy.protection import (
    Case,
    Cases,
    Each,
    JsonKeys,
    Keep,
    MaskWith,
    Others,
    Protection,
    Rule,
    SetNull,
    joins,
    keeps_distinct,
)

APP = ApplicationName("shop")


def protection(text: str) -> Protection:
    return parse_protection(APP, text, file="protection.yml")


def rule(written: str) -> Rule:
    return (
        protection(f"version: 1\ntables: {{t: {{columns: {{c: {written}}}}}}}")
        .tables["public", "t"]
        .columns["c"]
    )


EMAIL = MaskWith(mask=Mask.EMAIL, domain="example.org")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("keep", Keep()),
        ("'null'", SetNull()),
        ("email", EMAIL),
        ("{mask: token}", MaskWith(mask=Mask.TOKEN)),
        ("{mask: number, from: 1, to: 9}", MaskWith(mask=Mask.NUMBER, low=1, high=9)),
        ("{mask: phone, like: '+49-###'}", MaskWith(mask=Mask.PHONE, like="+49-###")),
        (
            "{mask: email, after: 'account:', except: [admin], others: keep}",
            MaskWith(
                mask=Mask.EMAIL, domain="example.org", after="account:", spare=("admin",), others=Others.KEEP
            ),
        ),
        ("{each: email}", Each(rule=EMAIL)),
        ("{json: {a: email, b: {json: {}}}}", JsonKeys(keys={"a": EMAIL, "b": JsonKeys(keys={})})),
        (
            "[{when: a > 1, take: keep}, {when: b, mask: token}, 'null']",
            Cases(
                cases=(Case(when="a > 1", rule=Keep()), Case(when="b", rule=MaskWith(mask=Mask.TOKEN))),
                otherwise=SetNull(),
            ),
        ),
    ],
)
def test_a_rule_is_read_as_it_is_meant(written: str, meant: Rule) -> None:
    assert rule(written) == meant


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "write keep, 'null' in quotes"),
        ("null", "write keep, 'null' in quotes"),
        ("no_such_mask", "there is no such transformer"),
        ("{mask: email, like: '###'}", "`like` does not belong to email"),
        ("{mask: email, colour: red}", "Extra inputs are not permitted"),
        ("{mask: number, from: 9, to: 1}", "number needs `from` and `to`"),
        ("{mask: number}", "number needs `from` and `to`"),
        ("{mask: fixed}", "fixed needs `value`"),
        ("{mask: phone, like: '\"; DROP'}", "`like` takes"),
        ("{mask: email, domain: 'a b'}", "`domain` is a host name"),
        ("{mask: email, others: keep}", "`others` needs `after`"),
        ("{json: [a]}", "name the known keys"),
        ("{json: [on]}", "name the known keys with a rule each"),
        ("{json: {a: keep}, others: mask}", "write drop or keep"),
        ("{json: {a: [keep]}}", "cases are for whole columns"),
        ("[{when: a, mask: token}]", "write it without `when`"),
        ("[keep, keep]", "each entry but the last needs `when`"),
        ("[]", "each entry but the last needs `when`"),
    ],
)
def test_a_rule_that_is_not_one_is_told(written: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        rule(written)
    assert said in str(refused.value)
    assert "tables.t.columns.c" in str(refused.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        protection(
            """
            version: 1
            tables:
              a: {rows: drop, where: x}
              freshet.marker: {rows: drop}
              public.b: {columns: {x: nonsense}}
              b: {columns: {y: keep}}
              'one.two.three': {rows: drop}
            """
        )
    said = "\n".join(refused.value.findings)
    for words in (
        "tables.a: with `rows: drop` nothing is taken",
        "schema freshet is Freshet's own",
        "tables.public.b.columns.x: there is no such transformer",
        "tables.b: this table stands here twice",
        "tables.one.two.three: write table, schema.table",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [}", "protection.yml, line 1"),
        ("a: &x 1\nb: *x", "aliases are refused"),
        ("a: 1\na: 2", "line 2: this key stands here twice"),
        ("json: {on: keep}", "line 1: a key must be text; words such as on or no in quotes"),
        ("a: 1\nno: 2", "line 2: a key must be text; words such as on or no in quotes"),
        ("a: 1\n!!binary bm8=: 2", "line 2: a key must be text; words such as on or no in quotes"),
        ("a:\n  - 7: 2", "line 2: a key must be text; words such as on or no in quotes"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("[" * 60 + "]" * 60, "nested more than"),
        ("x" * (LARGEST + 1), "longer than"),
        ("version: 2\ntables: {}", "version"),
        ("- 1", "the file"),
        ("? [a]\n: 1", "line 1"),
    ],
)
def test_what_is_not_plain_data_is_refused(text: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        protection(text)
    assert said in str(refused.value)


def test_quoted_table_names() -> None:
    tables = protection('version: 1\ntables: {"\\"Odd.Name\\"": {rows: drop}, other.T: {rows: drop}}').tables
    assert set(tables) == {("public", "Odd.Name"), ("other", "T")}


def test_the_digest_follows_the_meaning_not_the_layout() -> None:
    one = protection("version: 1\ntables: {a: {rows: drop}, b: {rows: drop}}")
    same = protection("# a comment\ntables:\n  b: {rows: drop}\n  a: {rows: drop}\nversion: 1\n")
    other = protection("version: 1\ntables: {a: {rows: drop}}")
    assert one.digest == same.digest != other.digest


def test_an_absent_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="freshet protection suggest"):
        load_protection(APP, tmp_path)


@pytest.mark.parametrize(
    "path", sorted(ROLES.glob("app_*/protection.yml")), ids=lambda path: path.parent.name
)
def test_every_policy_in_the_repository_is_valid(path: Path) -> None:
    assert load_protection(ApplicationName(path.parent.name.removeprefix("app_"))).tables


def test_which_rules_keep_unique_what_is_unique() -> None:
    assert keeps_distinct(Keep())
    assert keeps_distinct(SetNull())
    assert keeps_distinct(EMAIL)
    assert not keeps_distinct(MaskWith(mask=Mask.GIVEN_NAME))
    assert not keeps_distinct(MaskWith(mask=Mask.FIXED, value="x"))
    assert not keeps_distinct(
        Cases(cases=(Case(when="a", rule=MaskWith(mask=Mask.PHONE)),), otherwise=Keep())
    )


def test_which_rules_still_find_the_row_they_refer_to() -> None:
    assert joins(EMAIL, EMAIL)
    assert joins(SetNull(), Keep())
    assert not joins(Keep(), EMAIL)


def findings(text: str) -> tuple[str, ...]:
    """What is said about `text`; nothing when it is a policy."""
    try:
        protection(text)
    except Refused as refused:
        return refused.findings
    return ()


@given(st.text(alphabet=st.sampled_from("{}[]:,-\"'\n &*!|>#?%@`abnull01. keepmaskjson"), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert all(finding.startswith("protection.yml") for finding in findings(text))


WORDS = st.sampled_from(["mask", "json", "each", "when", "take", "x"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_rule_is_read_or_refused(written: object) -> None:
    text = yaml.safe_dump({"version": 1, "tables": {"t": {"columns": {"c": written}}}}, allow_unicode=True)
    assert parse(text, file="x") is not None
    assert all("tables.t.columns.c" in finding for finding in findings(text))
