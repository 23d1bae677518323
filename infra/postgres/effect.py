"""What a policy does to real values, measured on a sample by the source itself.

Invariant: only counts leave the source, and the names of JSON keys that no rule speaks of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from infra.postgres.compare import Point, points, sample
from infra.postgres.mask_sql import raw
from infra.postgres.schema import Column, Schema
from infra.postgres.selection import Selections
from policy.masks import FACTS, Family
from policy.protection import Cases, JsonKeys, MaskWith, Others, Protection, Rule, branches

SAMPLE = 2000
ALLOWANCE = 0.05
"""Share of values that may come out as they went in by chance, where few results are possible."""

_ENOUGH = 20
"""Values from which a share means something."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What became of the sampled values of one column or key.

    Attributes:
        masks: the transformers that came to act.
        values: how many sampled values a transformer was to change.
        unchanged: how many of them came out as they went in.
    """

    place: str
    masks: tuple[str, ...]
    values: int
    unchanged: int
    allowance: float

    @property
    def finding(self) -> str | None:
        """Why this is not good enough, or None."""
        if self.values < _ENOUGH or self.unchanged <= self.values * self.allowance:
            return None
        return (
            f"{self.place}: {self.unchanged} of {self.values} sampled values come out unchanged; "
            "choose another transformer"
        )


@dataclass(frozen=True, kw_only=True)
class UnknownKeys:
    """Keys of a JSON column that no rule speaks of: they do not get into the copy."""

    place: str
    keys: tuple[str, ...]


def effect(
    source: psycopg.Connection[Any], protection: Protection, schema: Schema, selections: Selections
) -> tuple[Effect, ...]:
    """Measure every masked value. The session knows the key (`infra.postgres.compare.ready`)."""
    found = []
    for table in schema.tables.values():
        selection = selections[table.name]
        if not selection.rows or not selection.columns:
            continue
        judged = [point for point in points(protection, table) if _judged(point.rule, point.key)]
        if not judged:
            continue
        counts = [count for point in judged for count in _counts(point)]
        row = source.execute(
            SQL("SELECT {} FROM {}").format(SQL(", ").join(counts), sample(table, selection, SAMPLE))
        ).fetchone()
        for n, point in enumerate(judged):
            masks = [rule.mask for rule in _judged(point.rule, point.key)]
            found.append(
                Effect(
                    place=f"{table.name}.{point.name}",
                    masks=tuple(dict.fromkeys(mask.value for mask in masks)),
                    values=row[2 * n] if row else 0,
                    unchanged=row[2 * n + 1] if row else 0,
                    allowance=0.0 if all(FACTS[mask].distinct for mask in masks) else ALLOWANCE,
                )
            )
    return tuple(found)


def unknown_keys(
    source: psycopg.Connection[Any], protection: Protection, schema: Schema, selections: Selections
) -> tuple[UnknownKeys, ...]:
    """Keys that stand in sampled rows and in no rule of their column."""
    found = []
    for table in schema.tables.values():
        if not selections[table.name].rows:
            continue
        rules = protection.tables.get((table.name.schema, table.name.table))
        for column in table.columns.values() if rules else ():
            known = _known(rules.columns.get(column.name)) if rules else None
            if known is None or column.family is not Family.JSON:
                continue
            keys = _keys(source, sample(table, selections[table.name], SAMPLE), column, known)
            if keys:
                found.append(UnknownKeys(place=f"{table.name}.{column.name}", keys=keys))
    return tuple(found)


def _judged(rule: Rule, key: str | None) -> list[MaskWith]:
    """The transformers that act on the value and must change it."""
    acting = []
    for branch in branches(rule):
        inner = branch.keys.get(key) if isinstance(branch, JsonKeys) and key is not None else branch
        if isinstance(inner, MaskWith) and not inner.spare and inner.others is not Others.KEEP:
            acting.append(inner)
    return acting


def _counts(point: Point) -> Iterator[Composable]:
    acts = SQL("{} AND {} IS NOT NULL AND {} <> ''").format(
        _acts(point.rule, point.key), point.stored(), point.stored()
    )
    yield SQL("count(*) FILTER (WHERE {})").format(acts)
    yield SQL("count(*) FILTER (WHERE {} AND {} IS NOT DISTINCT FROM {})").format(
        acts, point.masked(), point.stored()
    )


def _acts(rule: Rule, key: str | None) -> Composable:
    """The SQL condition under which a judged transformer acts on the row's value."""
    if isinstance(rule, Cases):
        whens = [SQL("WHEN {} THEN {}").format(raw(case.when), _acts(case.rule, key)) for case in rule.cases]
        return SQL("CASE {} ELSE {} END").format(SQL(" ").join(whens), _acts(rule.otherwise, key))
    return SQL("true") if _judged(rule, key) else SQL("false")


def _known(rule: Rule | None) -> set[str] | None:
    if rule is None:
        return None
    objects = [branch for branch in branches(rule) if isinstance(branch, JsonKeys)]
    if not objects or any(branch.others is Others.KEEP for branch in objects):
        return None
    return {key for branch in objects for key in branch.keys}


def _keys(
    source: psycopg.Connection[Any], rows: Composable, column: Column, known: set[str]
) -> tuple[str, ...]:
    found = source.execute(
        SQL(
            "SELECT DISTINCT key FROM {rows}, LATERAL jsonb_object_keys(CASE jsonb_typeof({column}::jsonb) "
            "WHEN 'object' THEN {column}::jsonb ELSE '{{}}' END) AS key "
            "WHERE NOT key = ANY ({known}) ORDER BY key LIMIT 50"
        ).format(rows=rows, column=Identifier(column.name), known=Literal(sorted(known)))
    ).fetchall()
    return tuple(key for (key,) in found)
