"""The rules for values inside JSON, as SQL over a jsonb value.

Invariant: an object is rebuilt from the keys that the policy names, so a key that nobody spoke of never gets
out, neither its value nor its name; an absent key stays absent, JSON null stays null.
"""

from __future__ import annotations

from psycopg.sql import SQL, Composable, Literal

from infra.postgres.mask_text import number, text_expression
from policy.masks import Mask
from policy.protection import Each, JsonKeys, Keep, MaskWith, Others, Rule

_MOST_PAIRS = 45
"""Keys in one jsonb_build_object; PostgreSQL takes 100 arguments."""


def json_expression(
    value: Composable, rule: Rule, *, text: Composable | None = None, depth: int = 0
) -> Composable:
    """The jsonb `value` under `rule`, as jsonb; `text` is a shorter way to its text, if there is one."""
    match rule:
        case Keep():
            return value
        case JsonKeys():
            return _object(value, rule, depth)
        case Each():
            return _array(value, rule, depth)
        case MaskWith():
            text = text or SQL("({} #>> '{{}}')").format(value)
            if rule.mask is Mask.NUMBER and not rule.after:
                return SQL("to_jsonb({})").format(number(text, rule))
            return SQL("to_jsonb({}::text)").format(text_expression(text, rule))
        case _:
            return SQL("'null'::jsonb")


def _object(value: Composable, rule: JsonKeys, depth: int) -> Composable:
    pairs = [
        SQL("{}, {}").format(
            Literal(name),
            json_expression(
                SQL("({} -> {})").format(value, Literal(name)),
                inner,
                text=SQL("({} ->> {})").format(value, Literal(name)),
                depth=depth,
            ),
        )
        for name, inner in rule.keys.items()
    ]
    blocks = [pairs[start : start + _MOST_PAIRS] for start in range(0, len(pairs), _MOST_PAIRS)] or [[]]
    made: Composable = SQL("({built}) - {absent}").format(
        built=SQL(" || ").join(SQL("jsonb_build_object({})").format(SQL(", ").join(each)) for each in blocks),
        absent=_absent(value, list(rule.keys)),
    )
    if rule.others is Others.KEEP:
        made = SQL("{} || ({})").format(value, made)
    return _if_type(value, "object", made)


def _absent(value: Composable, names: list[str]) -> Composable:
    """The known keys that `value` lacks; written out, because a sub-select a row costs twice as much."""
    if not names:
        return SQL("'{}'::text[]")
    lacking = SQL(", ").join(
        SQL("CASE WHEN {} ? {} THEN NULL ELSE {} END").format(value, Literal(name), Literal(name))
        for name in names
    )
    return SQL("array_remove(ARRAY[{}]::text[], NULL)").format(lacking)


def _array(value: Composable, rule: Each, depth: int) -> Composable:
    element = SQL(f"element{depth}")  # a number of our own counting
    made = SQL(
        "(SELECT coalesce(jsonb_agg({made} ORDER BY place), '[]') "
        "FROM jsonb_array_elements({value}) WITH ORDINALITY AS each({element}, place))"
    ).format(value=value, element=element, made=json_expression(element, rule.rule, depth=depth + 1))
    return _if_type(value, "array", made)


def _if_type(value: Composable, wanted: str, made: Composable) -> Composable:
    """JSON null for a value of another type; NULL for NULL."""
    return SQL(
        "CASE WHEN jsonb_typeof({value}) = {wanted} THEN {made} "
        "WHEN {value} IS NOT NULL THEN 'null'::jsonb END"
    ).format(value=value, wanted=Literal(wanted), made=made)
