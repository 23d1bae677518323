"""Turns the rule of a column into the SQL expression that the source evaluates.

Invariant: what a rule hides never leaves Production, because the expression is all that is selected. Nothing
is created on the source. An expression has its column's own type, so binary copies work.
"""

from __future__ import annotations

from psycopg.sql import SQL, Composable, Composed, Identifier

from infra.postgres.mask_json import json_expression
from infra.postgres.mask_text import fixed, integer, ip_address, number, text_expression, uuid
from infra.postgres.schema import Column
from policy.errors import Refused
from policy.masks import FACTS, Family, Mask
from policy.protection import Cases, Each, JsonKeys, Keep, MaskWith, Rule, SetNull, branches


def raw(text: str) -> SQL:
    """SQL text of the application's own policy, on lines of its own so that a comment in it ends.

    The protection file is part of the application's role and reviewed like code; no request reaches it.
    """
    return SQL(f"(\n{text}\n)")


def column_expression(column: Column, rule: Rule) -> Composable | None:
    """The expression for `column` under `rule`; None when the column is taken as it is.

    Raises:
        Refused: the rule does not fit the type (classification tells it before, with the remedy).
    """
    if all(isinstance(branch, Keep) for branch in branches(rule)):
        return None
    return _typed(column, rule)


def fits(column: Column, rule: Rule) -> bool:
    """Whether `rule` can be applied to the type of `column`."""
    return all(_fits(column, branch) for branch in branches(rule))


def _fits(column: Column, rule: Rule) -> bool:
    match rule:
        case MaskWith():
            return column.family in FACTS[rule.mask].takes
        case JsonKeys():
            return column.family is Family.JSON
        case Each():
            plain = isinstance(rule.rule, Keep | SetNull | MaskWith)
            return column.family is Family.JSON or (column.family is Family.ARRAY and plain)
        case _:
            return True


def _typed(column: Column, rule: Rule) -> Composable:
    # The type's name comes from format_type, which quotes it.
    return SQL("CAST({} AS {})").format(_value(column, rule), SQL(column.type_name))


def _value(column: Column, rule: Rule) -> Composable:  # noqa: PLR0911 - one answer a kind of rule
    this = Identifier(column.name)
    if not fits(column, rule):
        raise Refused(f"column {column.name}: its rule does not fit its type {column.type_name}")
    match rule:
        case Keep():
            return this
        case SetNull():
            return SQL("NULL")
        case Cases():
            return _by_case(column, rule)
        case JsonKeys():
            return json_expression(SQL("{}::jsonb").format(this), rule)
        case Each():
            if column.family is Family.JSON:
                return json_expression(SQL("{}::jsonb").format(this), rule)
            return _array(this, rule)
        case MaskWith():
            return _masked(column, this, rule)


def _by_case(column: Column, rule: Cases) -> Composed:
    return SQL("CASE {} ELSE {} END").format(
        SQL(" ").join(
            SQL("WHEN {} THEN {}").format(raw(case.when), _typed(column, case.rule)) for case in rule.cases
        ),
        _typed(column, rule.otherwise),
    )


def _masked(column: Column, this: Composable, rule: MaskWith) -> Composable:  # noqa: PLR0911 - one answer a family
    text = SQL("{}::text").format(this)
    if rule.mask is Mask.FIXED:
        return fixed(this, rule)
    match column.family:
        case Family.TEXT:
            folded = SQL("lower({})").format(text) if column.base == "citext" else text
            return text_expression(folded, rule, length=column.length)
        case Family.DATE:
            return _date(this, rule)
        case Family.TIMESTAMP:
            return _timestamp(this, rule)
        case Family.UUID:
            return uuid(text)
        case Family.NETWORK:
            return ip_address(SQL("host({})").format(this))
        case _:
            return number(text, rule)


def _date(this: Composable, rule: MaskWith) -> Composed:
    return SQL(
        "CASE WHEN isfinite({this}) THEN date_trunc('year', {this}::timestamp)::date "
        "+ mod({n}, 365)::integer ELSE {this} END"
    ).format(this=this, n=integer(SQL("to_char({}, 'YYYY-MM-DD')").format(this), rule.mask))


def _timestamp(this: Composable, rule: MaskWith) -> Composed:
    return SQL(
        "CASE WHEN isfinite({this}) THEN date_trunc('year', {this}) "
        "+ make_interval(secs => mod({n}, 31536000)) ELSE {this} END"
    ).format(this=this, n=integer(SQL("extract(epoch FROM {})::text").format(this), rule.mask))


def _array(this: Composable, rule: Each) -> Composed:
    element = SQL("element::text")
    match rule.rule:
        case MaskWith() as mask:
            made = text_expression(element, mask)
        case Keep():
            made = SQL("element")
        case _:
            made = SQL("NULL")
    return SQL(
        "CASE WHEN {this} IS NOT NULL THEN ARRAY(SELECT {made} FROM unnest({this}) "
        "WITH ORDINALITY AS each(element, place) ORDER BY place) END"
    ).format(this=this, made=made)
