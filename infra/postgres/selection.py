"""What of each table is copied, and how: the meeting point of the protection policy and the copy methods.

Invariant: every copy method copies through selections only, so no method can carry a column that the policy
did not classify.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg.sql import Composable


@dataclass(frozen=True, order=True)
class TableName:
    """A table's schema and name, exactly as PostgreSQL stores them (any case, any Unicode)."""

    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is taken of one table.

    Attributes:
        rows: False means that the table arrives empty.
        columns: an SQL expression over the source row for each masked column; a column that is not named is
            taken as it is. The expression has the column's own type. It may read the masking key with
            `current_setting('freshet.key')`, which every copy method sets in its source sessions by a bound
            parameter, never in the statement's text.
        where: only rows for which this holds, or None for all.
    """

    rows: bool = True
    columns: Mapping[str, Composable] = field(default_factory=dict)
    where: Composable | None = None


Selections = Mapping[TableName, Selection]
