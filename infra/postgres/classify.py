"""Compares a protection policy with a live schema, and says everything that is missing or cannot hold.

Invariant: it fails closed. No findings means that every column of every table has a rule that fits its type,
keeps unique what must be unique, and keeps rows that refer to each other together.
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.postgres.mask_sql import fits
from infra.postgres.row_filters import RowFilters
from infra.postgres.schema import Column, Schema, Table
from infra.postgres.selection import TableName
from infra.postgres.suggest import suggested_rule, table_key, yaml_key
from policy.masks import FACTS, Family, Mask
from policy.protection import (
    OWN_SCHEMA,
    MaskWith,
    Protection,
    Rule,
    SetNull,
    TableRules,
    branches,
    joins,
    keeps_distinct,
)


def classify(protection: Protection, schema: Schema) -> tuple[str, ...]:
    """Every reason why `protection` does not cover `schema`, each with the remedy; empty when it does."""
    findings: list[str] = []
    for table in schema.tables.values():
        if table.name.schema == OWN_SCHEMA:
            continue
        rules = protection.tables.get((table.name.schema, table.name.table))
        if rules is None:
            findings.append(_unknown(table, list(table.columns.values()), whole=True))
        elif not rules.drop_rows:
            findings.extend(_columns(table, rules))
    if schema.large_objects and protection.large_objects is None:
        findings.append(
            f"large objects: the source has {schema.large_objects}; add `large_objects: drop` (or keep) "
            "to protection.yml"
        )
    findings.extend(_references(protection, schema))
    findings.extend(RowFilters(protection, schema).findings())
    return tuple(findings)


def _columns(table: Table, rules: TableRules) -> Iterator[str]:
    missing = [c for c in table.columns.values() if not c.generated and c.name not in rules.columns]
    if missing:
        yield _unknown(table, missing, whole=False)
    for column in table.columns.values():
        rule = rules.columns.get(column.name)
        if rule is not None and not column.generated:
            yield from _column(f"column {table.name}.{column.name}", column, rule)


def _column(place: str, column: Column, rule: Rule) -> Iterator[str]:
    if not fits(column, rule):
        yield (
            f"{place}: its rule does not fit its type {column.type_name}; "
            f"write {suggested_rule(column)} or another transformer that takes it"
        )
        return
    if column.required and any(isinstance(branch, SetNull) for branch in branches(rule)):
        yield f"{place}: it must not be NULL; write a transformer, such as {suggested_rule(column)}"
    if column.unique and not keeps_distinct(rule) and column.family is not Family.JSON:
        able = ", ".join(mask for mask in Mask if FACTS[mask].distinct and column.family in FACTS[mask].takes)
        yield f"{place}: it is part of something unique; write keep or a transformer that keeps it so: {able}"
    for branch in branches(rule):
        if isinstance(branch, MaskWith) and column.family is Family.TEXT:
            yield from _length(place, column, branch)


def _length(place: str, column: Column, rule: MaskWith) -> Iterator[str]:
    needed = shortest(rule, unique=column.unique)
    if column.length is not None and column.length < needed:
        yield (
            f"{place}: {column.type_name} is too short for {rule.mask}, which needs {needed} here; "
            "write token, another transformer or drop the rows"
        )


def shortest(rule: MaskWith, *, unique: bool) -> int:
    """The least length of a column that `rule` can fill with valid values."""
    facts = FACTS[rule.mask]
    if rule.mask is Mask.FIXED:
        return len(rule.value)
    if rule.like:
        return len(rule.after) + len(rule.like)
    needed = facts.shortest_unique if unique else facts.shortest
    if rule.mask is Mask.EMAIL:
        needed += len(rule.domain) - len("example.org")
    return len(rule.after) + needed


def _references(protection: Protection, schema: Schema) -> Iterator[str]:
    for key in schema.foreign_keys:
        child, parent = _rules(protection, key.child), _rules(protection, key.parent)
        if child.drop_rows or parent.drop_rows:
            continue
        for column, refers in zip(key.columns, key.refers, strict=True):
            mine, theirs = child.columns.get(column), parent.columns.get(refers)
            if mine is not None and theirs is not None and not joins(mine, theirs):
                yield (
                    f"column {key.child}.{column}: it refers to {key.parent}.{refers} ({key.name}) and would "
                    "no longer find its row; give both the same rule"
                )


def _rules(protection: Protection, table: TableName) -> TableRules:
    return protection.tables.get((table.schema, table.table), TableRules())


def _unknown(table: Table, columns: list[Column], *, whole: bool) -> str:
    """The finding for columns without a rule, with the text to add."""
    lines = [
        f"table {table.name}: "
        + ("it has no rules" if whole else "new columns have no rule")
        + "; nothing is copied until each column has one. Add to protection.yml, then correct:",
        "  tables:",
        f"    {yaml_key(table_key(table.name))}:",
        "      columns:",
    ]
    lines += [f"        {yaml_key(c.name)}: {suggested_rule(c)}" for c in columns if not c.generated]
    if whole:
        lines.append("    # or, when its rows are not needed in a copy, `rows: drop` instead of `columns`")
    return "\n".join(lines)
