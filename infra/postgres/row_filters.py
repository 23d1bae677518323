"""Which rows of each table are taken when some tables are filtered: a filtered parent filters its children.

Invariant: if every foreign key holds in the source, every one holds among the rows that are taken.

A child whose row refers to a row that stays behind stays behind too, through any number of tables. Where that
cannot be told (a circle of references, a parent that arrives empty) the policy is refused with the remedy.
"""

from __future__ import annotations

from psycopg.sql import SQL, Composable, Identifier

from infra.postgres.mask_sql import raw
from infra.postgres.schema import ForeignKey, Schema
from infra.postgres.selection import TableName
from policy.protection import Protection, SetNull, TableRules


class RowFilters:
    """The conditions that a policy puts on the rows of a database.

    Args:
        protection: the policy.
        schema: the source.
    """

    def __init__(self, protection: Protection, schema: Schema) -> None:
        self.protection = protection
        self.schema = schema
        self.keys = [key for key in schema.foreign_keys if not self._nulled(key)]
        self.affected = self._affected()

    def findings(self) -> tuple[str, ...]:
        """Why the filters cannot be kept, with the remedies; empty when they can."""
        found = [
            f"table {key.child}: its foreign key {key.name} refers to {key.parent}, which arrives "
            f"empty; write `rows: drop` for {key.child} too, or 'null' for {', '.join(key.columns)}"
            for key in self.keys
            if self._rules(key.parent).drop_rows and not self._rules(key.child).drop_rows
        ]
        found.extend(
            f"tables {', '.join(map(str, circle))}: their foreign keys form a circle through a filtered "
            "table; remove `where`, or write 'null' for one of the referring columns"
            for circle in self._circles()
        )
        return tuple(found)

    def where(self, table: TableName) -> Composable | None:
        """The whole condition on the rows of `table`; None when all are taken.

        Only for filters without findings.
        """
        if table not in self.affected:
            return None
        rules = self._rules(table)
        parts: list[Composable] = [raw(rules.where)] if rules.where else []
        parts.extend(
            self._parent_taken(key) for key in self.keys if key.child == table and key.parent in self.affected
        )
        return SQL(" AND ").join(parts)

    def _parent_taken(self, key: ForeignKey) -> Composable:
        """Names of ours for the parent's columns, so that the child's own need no qualification."""
        ours = [Identifier(f"freshet_k{n}") for n in range(len(key.columns))]
        taken = self.where(key.parent)
        required = all(self.schema.tables[key.child].columns[column].required for column in key.columns)
        # A key with a NULL in it refers to nothing: it is enough that no row that stays behind is meant.
        form = (
            "EXISTS (SELECT FROM (SELECT {refers} FROM {parent} WHERE {taken}) AS freshet_p WHERE {same})"
            if required
            else "NOT EXISTS (SELECT FROM (SELECT {refers} FROM {parent} WHERE ({taken}) IS NOT TRUE) "
            "AS freshet_p WHERE {same})"
        )
        return SQL(form).format(
            refers=SQL(", ").join(
                SQL("{} AS {}").format(Identifier(name), our)
                for name, our in zip(key.refers, ours, strict=True)
            ),
            parent=Identifier(key.parent.schema, key.parent.table),
            taken=taken or SQL("true"),
            same=SQL(" AND ").join(
                SQL("{} = {}").format(our, Identifier(name))
                for name, our in zip(key.columns, ours, strict=True)
            ),
        )

    def _affected(self) -> frozenset[TableName]:
        affected = {table for table in self.schema.tables if self._rules(table).where}
        while True:
            more = {key.child for key in self.keys if key.parent in affected} - affected
            if not more:
                return frozenset(affected)
            affected |= more

    def _circles(self) -> list[list[TableName]]:
        circles: list[list[TableName]] = []
        done: set[TableName] = set()

        def follow(table: TableName, path: list[TableName]) -> None:
            if table in path:
                circles.append(path[path.index(table) :])
                return
            if table in done:
                return
            for key in self.keys:
                if key.child == table and key.parent in self.affected:
                    follow(key.parent, [*path, table])
            done.add(table)

        for table in sorted(self.affected):
            follow(table, [])
        return circles

    def _rules(self, table: TableName) -> TableRules:
        return self.protection.tables.get((table.schema, table.table), TableRules())

    def _nulled(self, key: ForeignKey) -> bool:
        columns = self._rules(key.child).columns
        return any(isinstance(columns.get(column), SetNull) for column in key.columns)
