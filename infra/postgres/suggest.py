"""Drafts rules from names and types, for a person to correct.

Invariant: a draft errs on the side of hiding: text is kept only where its name says that it is a status or a
kind, with a comment that it is a guess. A draft is never applied by itself.
"""

from __future__ import annotations

import json
import re

import psycopg
from psycopg.sql import SQL, Identifier

from infra.postgres.schema import Column, Schema, Table
from infra.postgres.selection import TableName
from policy.masks import FACTS, Family, Mask
from policy.protection import OWN_SCHEMA

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_WORDS_OF_YAML = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}

_BY_NAME: tuple[tuple[re.Pattern[str], Mask], ...] = tuple(
    (re.compile(pattern), mask)
    for pattern, mask in (
        (r"e_?mail|principal|user_?name|login", Mask.EMAIL),
        (r"phone|mobile|fax|tel(ephone)?$", Mask.PHONE),
        (r"post_?code|postal|zip", Mask.POSTCODE),
        (r"(given|first|fore)_?name", Mask.GIVEN_NAME),
        (r"(family|last|sur)_?name", Mask.FAMILY_NAME),
        (r"(full|display|contact|guardian|parent|student)_?name|^name$", Mask.FULL_NAME),
        (r"street|address(_?line)?_?1?$", Mask.STREET),
        (r"birth|dob$|born", Mask.DATE_WITHIN_YEAR),
        (r"(^|_)ip(_|$|_?addr)|remote_addr", Mask.IP_ADDRESS),
        (r"token|secret|passw|api_?key|hash|session", Mask.TOKEN),
    )
)
_KEPT_TEXT = re.compile(
    r"^(status|state|type|kind|currency|locale|language|time_?zone|country|version|code)$|_(type|kind|status)$"
)
_SAMPLE_ROWS = 2000


def suggested_rule(column: Column) -> str:  # noqa: PLR0911 - one answer a family
    """The rule for `column` as one line of YAML."""
    name = column.name.lower()
    for pattern, mask in _BY_NAME:
        if pattern.search(name) and column.family in FACTS[mask].takes and _allowed(column, mask):
            return mask.value
    match column.family:
        case Family.TEXT:
            if _KEPT_TEXT.search(name):
                return "keep  # a guess from its name"
            names_a_row = column.unique or name == "id" or name.endswith("_id")
            return Mask.TOKEN if names_a_row else Mask.FREE_TEXT
        case Family.JSON:
            return "{json: {}, others: drop}  # name the keys that may be kept"
        case Family.ARRAY:
            return (
                "{each: free_text}"
                if column.base in {"_text", "_varchar"}
                else "keep  # a guess from its type"
            )
        case Family.NETWORK:
            return Mask.IP_ADDRESS
        case Family.OTHER if column.base in {"bytea", "xml", "tsvector"}:
            return "{mask: fixed, value: ''}" if column.required else "'null'"
        case _:
            return "keep"


def _allowed(column: Column, mask: Mask) -> bool:
    return FACTS[mask].distinct or not column.unique


def suggest_policy(connection: psycopg.Connection, schema: Schema) -> str:
    """A whole `protection.yml` for the database of `connection`, as a draft."""
    lines = ["# A draft: read every line before it is used.", "version: 1"]
    if schema.large_objects:
        lines.append("large_objects: drop")
    lines.append("tables:")
    for table in schema.tables.values():
        if table.name.schema == OWN_SCHEMA:
            continue
        lines += [f"  {yaml_key(table_key(table.name))}:", "    columns:"]
        for column in table.columns.values():
            if column.generated:
                continue
            lines.append(f"      {yaml_key(column.name)}: {_rule_text(connection, table, column)}")
    lines += ["neutralise: []", "preserve: []", "leak_probe: {forbidden: [], empty: []}"]
    return "\n".join(lines) + "\n"


def _rule_text(connection: psycopg.Connection, table: Table, column: Column) -> str:
    if column.family is not Family.JSON:
        return suggested_rule(column)
    rows = connection.execute(
        SQL(
            "SELECT DISTINCT key FROM (SELECT {column}::jsonb AS value FROM {table} LIMIT {most}) AS sample, "
            "LATERAL jsonb_object_keys("
            "CASE jsonb_typeof(value) WHEN 'object' THEN value ELSE '{{}}' END) AS key "
            "ORDER BY key LIMIT 200"
        ).format(
            column=Identifier(column.name),
            table=Identifier(table.name.schema, table.name.table),
            most=_SAMPLE_ROWS,
        )
    ).fetchall()
    keys = [f"{yaml_key(key)}: {_key_rule(key)}" for (key,) in rows]
    return "{json: {" + ", ".join(keys) + "}, others: drop}"


def _key_rule(key: str) -> str:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
    for pattern, mask in _BY_NAME:
        if pattern.search(name):
            return mask.value
    return Mask.FREE_TEXT.value


def table_key(table: TableName) -> str:
    """How protection.yml calls `table`."""
    parts = [table.table] if table.schema == "public" else [table.schema, table.table]
    return ".".join(
        '"' + part.replace('"', '""') + '"' if "." in part or '"' in part else part for part in parts
    )


def yaml_key(name: str) -> str:
    """`name` as a key in YAML, quoted where YAML would read something else."""
    if all(_PLAIN.fullmatch(part) for part in name.split(".")) and name not in _WORDS_OF_YAML:
        return name
    return json.dumps(name, ensure_ascii=False)
