"""What of an application's data may leave Production, in which form, and what its copies must never hold.

Invariant: a rule exists for each column or the copy is refused; nothing here has a default that lets a value
through. The SQL texts in it (`where`, `when`, statements, probes) are part of the application's role,
reviewed like code; they never come from a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from policy.masks import FACTS, Mask
from policy.names import ApplicationName

TableKey = tuple[str, str]
"""Schema and table, exactly as PostgreSQL stores them."""

OWN_SCHEMA = "freshet"
"""Where the marker lives in each hosted database; it is never copied."""


class Others(StrEnum):
    """What becomes of the values that a rule does not speak of."""

    DROP = "drop"
    KEEP = "keep"
    MASK = "mask"


@dataclass(frozen=True)
class Keep:
    """The value leaves Production as it is."""


@dataclass(frozen=True)
class SetNull:
    """NULL instead of the value."""


@dataclass(frozen=True, kw_only=True)
class MaskWith:
    """A transformer instead of the value.

    Attributes:
        after: only what follows this prefix is masked; the prefix stays.
        spare: values (without the prefix) that stay as they are, such as the name of a service account.
        others: what happens to values without the prefix: masked as a whole, or kept.
        like: pattern for `phone` and `postcode`.
        domain: domain for `email`.
        low: least value for `number`.
        high: greatest value for `number`.
        value: the value of `fixed`.
    """

    mask: Mask
    after: str = ""
    spare: tuple[str, ...] = ()
    others: Others = Others.MASK
    like: str = ""
    domain: str = ""
    low: int = 0
    high: int = 0
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class JsonKeys:
    """A JSON object of which the named keys are known; what is not an object becomes JSON null.

    Attributes:
        others: what happens to unknown keys: dropped, names and all, unless the policy says keep.
    """

    keys: Mapping[str, Rule]
    others: Others = Others.DROP


@dataclass(frozen=True, kw_only=True)
class Each:
    """An array (of SQL or JSON) whose every element follows `rule`."""

    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Case:
    """A rule for the rows for which the SQL condition `when` holds."""

    when: str
    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Cases:
    """The first case that holds decides; `otherwise` stands for all other rows."""

    cases: tuple[Case, ...]
    otherwise: Rule


Rule = Keep | SetNull | MaskWith | JsonKeys | Each | Cases


@dataclass(frozen=True, kw_only=True)
class TableRules:
    """What is taken of one table.

    Attributes:
        drop_rows: the table arrives empty; its columns need no rule then.
        where: SQL condition; only rows for which it holds are taken.
    """

    drop_rows: bool = False
    where: str | None = None
    columns: Mapping[str, Rule] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One idempotent SQL statement and what it is for.

    It may read `current_setting('freshet.source_host')`, `freshet.target_host`, `freshet.source_url`,
    `freshet.target_url` and `freshet.environment`.
    """

    title: str
    sql: str


@dataclass(frozen=True, kw_only=True)
class PreservedRows:
    """Rows of the target that survive a refresh.

    Attributes:
        where: SQL condition on the target's rows; None means all.
        match: columns that identify a row; empty means the primary key.
        children: tables whose rows refer to preserved rows by foreign key and survive with them.
        replace: the copy's own rows for which `where` holds (and their children) go; otherwise only those
            that a preserved row takes the place of.
    """

    table: TableKey
    where: str | None = None
    match: tuple[str, ...] = ()
    children: tuple[TableKey, ...] = ()
    replace: bool = True


@dataclass(frozen=True, kw_only=True)
class Forbidden:
    """A regular expression that no text in the copy may match."""

    title: str
    pattern: str


@dataclass(frozen=True, kw_only=True)
class Protection:
    """Everything `protection.yml` of one application says.

    Attributes:
        large_objects: whether large objects are taken; None means the policy does not say, which refuses a
            source that has some.
        host_columns: columns in which Production's host name is replaced by the target's.
        preserved_sequences: sequences that keep the target's value where it is ahead.
        probes: statements that must return no row in the copy.
        digest: changes whenever the meaning of the file changes.
    """

    application: ApplicationName
    tables: Mapping[TableKey, TableRules]
    large_objects: bool | None
    neutralise: tuple[Statement, ...]
    host_columns: tuple[tuple[TableKey, str], ...]
    preserve: tuple[PreservedRows, ...]
    preserved_sequences: tuple[TableKey, ...]
    forbidden: tuple[Forbidden, ...]
    probes: tuple[Statement, ...]
    digest: str


def branches(rule: Rule) -> tuple[Rule, ...]:
    """The rules that may come to act on a whole value: the rule itself, or those of its cases."""
    if isinstance(rule, Cases):
        found = [branch for case in rule.cases for branch in branches(case.rule)]
        return (*found, *branches(rule.otherwise))
    return (rule,)


def keeps_distinct(rule: Rule) -> bool:
    """Whether unequal values stay unequal under `rule` (NULLs count as unequal)."""
    return all(
        isinstance(branch, Keep | SetNull) or (isinstance(branch, MaskWith) and FACTS[branch.mask].distinct)
        for branch in branches(rule)
    )


def joins(child: Rule, parent: Rule) -> bool:
    """Whether a foreign key still finds its row when the two sides follow these rules."""
    return child == parent or isinstance(child, SetNull)


def masks_anything(rule: Rule) -> bool:
    """Whether `rule` changes any value."""
    return any(not isinstance(branch, Keep) for branch in branches(rule))
