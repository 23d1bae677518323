"""What every copy method copies: the protection policy applied to a live schema.

Invariant: there are selections only for a database that the policy covers wholly; otherwise `Refused`.
"""

from __future__ import annotations

from infra.postgres.catalog import LARGE_OBJECTS
from infra.postgres.classify import classify
from infra.postgres.mask_sql import column_expression
from infra.postgres.row_filters import RowFilters
from infra.postgres.schema import Schema, Table
from infra.postgres.selection import Selection, Selections, TableName
from policy.errors import Refused
from policy.protection import OWN_SCHEMA, Protection


def selections(protection: Protection, schema: Schema) -> Selections:
    """What of each table (and each partition) is taken, and how.

    Raises:
        Refused: the policy does not cover the schema; every finding with the text to add.
    """
    findings = classify(protection, schema)
    if findings:
        raise Refused(*findings)
    filters = RowFilters(protection, schema)
    found: dict[TableName, Selection] = {
        LARGE_OBJECTS: Selection(rows=protection.large_objects is True),
    }
    for table in schema.tables.values():
        selection = _selection(protection, table, filters)
        found.update(dict.fromkeys((table.name, *table.leaves), selection))
    return found


def _selection(protection: Protection, table: Table, filters: RowFilters) -> Selection:
    if table.name.schema == OWN_SCHEMA:
        return Selection(rows=False)
    rules = protection.tables[table.name.schema, table.name.table]
    if rules.drop_rows:
        return Selection(rows=False)
    expressions = {
        column.name: column_expression(column, rules.columns[column.name])
        for column in table.columns.values()
        if not column.generated
    }
    return Selection(
        columns={name: made for name, made in expressions.items() if made is not None},
        where=filters.where(table.name),
    )
