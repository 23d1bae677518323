"""The file `protection.yml` of an application's role: the door through which a protection policy comes in.

Invariant: what is loaded is complete and unambiguous; every mistake of a file is told at once, with the place
and the remedy. Whether it covers a database is another question (`infra.postgres.classify`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.plain_yaml import parse
from infra.protection_rules import Findings, rule_of
from infra.roles import HERE, role_of
from policy.errors import Refused
from policy.names import ApplicationName
from policy.protection import (
    OWN_SCHEMA,
    Forbidden,
    PreservedRows,
    Protection,
    Rule,
    Statement,
    TableKey,
    TableRules,
)

ROLES = HERE
_NAME_PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class _Table(_Part):
    rows: str | None = Field(default=None, pattern="^drop$")
    where: str | None = Field(default=None, min_length=1)
    columns: dict[str, object] = Field(default_factory=dict)


class _Statement(_Part):
    title: str = Field(min_length=1, max_length=120)
    sql: str = Field(min_length=1)


class _Preserved(_Part):
    table: str
    where: str | None = Field(default=None, min_length=1)
    match: list[str] = Field(default_factory=list)
    children: list[str] = Field(default_factory=list)
    replace: bool = True


class _Forbidden(_Part):
    title: str = Field(min_length=1, max_length=120)
    pattern: str = Field(min_length=1, max_length=500)


class _LeakProbe(_Part):
    forbidden: list[_Forbidden] = Field(default_factory=list)
    empty: list[_Statement] = Field(default_factory=list)


class _File(_Part):
    version: int = Field(ge=1, le=1)
    large_objects: str | None = Field(default=None, pattern="^(keep|drop)$")
    tables: dict[str, _Table]
    neutralise: list[_Statement] = Field(default_factory=list)
    host_columns: dict[str, list[str]] = Field(default_factory=dict)
    preserve: list[_Preserved] = Field(default_factory=list)
    preserved_sequences: list[str] = Field(default_factory=list)
    leak_probe: _LeakProbe = Field(default_factory=_LeakProbe)


def protection_path(application: ApplicationName, roles: Path | None = None) -> Path:
    """Where the policy of `application` lies."""
    role = role_of(application) if roles is None else roles / f"app_{application}"
    return role / "protection.yml"


def load_protection(application: ApplicationName, roles: Path | None = None) -> Protection:
    """The protection policy of `application`.

    Raises:
        Refused: the file is absent or has mistakes, all of them.
    """
    path = protection_path(application, roles)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            f"application {application}: {path.name} cannot be read ({type(error).__name__}); without a "
            "protection policy nothing is copied; draft one with `freshet protection suggest`"
        ) from error
    return parse_protection(application, text, file=f"app_{application}/protection.yml")


def parse_protection(application: ApplicationName, text: str, *, file: str) -> Protection:
    """The policy written in `text`.

    Raises:
        Refused: all mistakes at once.
    """
    data = parse(text, file=file)
    try:
        parsed = _File.model_validate(data)
    except ValidationError as error:
        raise Refused(
            *(
                f"{file}: {'.'.join(_shown(part) for part in problem['loc']) or 'the file'}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_url=False)
            )
        ) from None
    findings = Findings(file)
    protection = Protection(
        application=application,
        tables=_tables(parsed, findings),
        large_objects=None if parsed.large_objects is None else parsed.large_objects == "keep",
        neutralise=tuple(Statement(title=each.title, sql=each.sql) for each in parsed.neutralise),
        host_columns=tuple(
            (_table_key(table, findings, "host_columns"), column)
            for table, columns in parsed.host_columns.items()
            for column in columns
        ),
        preserve=tuple(
            PreservedRows(
                table=_table_key(each.table, findings, f"preserve.{n}.table"),
                where=each.where,
                match=tuple(each.match),
                children=tuple(
                    _table_key(child, findings, f"preserve.{n}.children") for child in each.children
                ),
                replace=each.replace,
            )
            for n, each in enumerate(parsed.preserve)
        ),
        preserved_sequences=tuple(
            _table_key(name, findings, "preserved_sequences") for name in parsed.preserved_sequences
        ),
        forbidden=tuple(
            Forbidden(title=each.title, pattern=each.pattern) for each in parsed.leak_probe.forbidden
        ),
        probes=tuple(Statement(title=each.title, sql=each.sql) for each in parsed.leak_probe.empty),
        digest=hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest(),
    )
    findings.refuse_if_any()
    return protection


def _tables(parsed: _File, findings: Findings) -> Mapping[TableKey, TableRules]:
    tables: dict[TableKey, TableRules] = {}
    for name, table in parsed.tables.items():
        place = f"tables.{_shown(name)}"
        key = _table_key(name, findings, place)
        if key in tables:
            findings.add(place, "this table stands here twice; remove one")
        if key[0] == OWN_SCHEMA:
            findings.add(place, f"schema {OWN_SCHEMA} is Freshet's own and never copied; remove the entry")
        if table.rows and (table.where or table.columns):
            findings.add(place, "with `rows: drop` nothing is taken; remove `where` and `columns`")
        columns: dict[str, Rule] = {
            column: rule_of(written, findings, f"{place}.columns.{_shown(column)}")
            for column, written in table.columns.items()
        }
        tables[key] = TableRules(drop_rows=table.rows == "drop", where=table.where, columns=columns)
    return tables


def _table_key(written: str, findings: Findings, place: str) -> TableKey:
    """`table`, `schema.table`, or either part in double quotes where it holds a dot or a quote."""
    parts = _NAME_PART.findall(written)
    if ".".join(parts) != written or len(parts) not in {1, 2}:
        findings.add(place, 'write table, schema.table, or "quoted.name" where a part holds a dot')
        return ("public", "")
    plain = [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts]
    return (plain[0], plain[1]) if len(plain) == 2 else ("public", plain[0])  # noqa: PLR2004 - schema and table


def _shown(part: object) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(part)[:60])
