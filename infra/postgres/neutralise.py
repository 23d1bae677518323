"""Makes a copy harmless: nothing in it may call out, run by itself, or name Production's hosts.

Invariant: every statement is idempotent, so a second worker repeats all of it; what cannot be made harmless
is an error, never skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier

from infra.postgres.reach import settle
from infra.postgres.triggers import quiet_triggers
from policy.errors import Refused, StepFailed
from policy.estate import Site
from policy.protection import Protection

NOWHERE = "neutralised.invalid"
"""A host that never resolves (RFC 6761)."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the data came from and where they are now, as people and programs address it.

    Attributes:
        source_host: host and port as in the source's URL.
        environment: the target's.
    """

    source_host: str
    target_host: str
    source_url: str
    target_url: str
    environment: str

    @classmethod
    def of(cls, source: Site, target: Site) -> Places:
        """The places of two sites."""
        return cls(
            source_host=urlsplit(source.url).netloc,
            target_host=urlsplit(target.url).netloc,
            source_url=source.url.rstrip("/"),
            target_url=target.url.rstrip("/"),
            environment=target.id.environment.value,
        )

    def settings(self) -> Mapping[str, str]:
        """What the policy's statements may read by `current_setting`."""
        return {
            "freshet.source_host": self.source_host,
            "freshet.target_host": self.target_host,
            "freshet.source_url": self.source_url,
            "freshet.target_url": self.target_url,
            "freshet.environment": self.environment,
        }


@dataclass(frozen=True, kw_only=True)
class Act:
    """Something that was made harmless: what, and how many rows or objects."""

    title: str
    count: int


def neutralise(
    connection: psycopg.Connection[Any], protection: Protection, places: Places
) -> tuple[Act, ...]:
    """Make the database of `connection` harmless.

    That is: subscriptions, event triggers, foreign servers, scheduled jobs, host names, and whatever the
    application's policy names.

    Args:
        connection: not in autocommit, in the incoming database, as its owner.
        protection: the application's policy.
        places: Production's and the target's addresses.

    Raises:
        StepFailed: something could not be made harmless; the message says what.
    """
    acts: list[Act] = []
    with connection.transaction():
        settle(connection, search_path="public")
    acts += _subscriptions(connection)
    with connection.transaction():
        for name, value in places.settings().items():
            connection.execute("SELECT set_config(%s, %s, true)", [name, value])
        for title, statement in _generic(connection):
            acts.append(Act(title=title, count=_run(connection, title, statement)))
        for table, column in protection.host_columns:
            title = f"host name in {table[0]}.{table[1]}.{column}"
            acts.append(Act(title=title, count=_rewrite(connection, table, column)))
        for each in protection.neutralise:
            acts.append(Act(title=each.title, count=_run(connection, each.title, raw_statement(each.sql))))
    return tuple(acts)


def raw_statement(text: str) -> SQL:
    """A statement of the application's own policy, which is reviewed like code; no request reaches it."""
    return SQL(text)


def _run(connection: psycopg.Connection[Any], title: str, statement: Composable) -> int:
    try:
        return max(connection.execute(statement.as_string(connection).encode()).rowcount, 0)
    except psycopg.Error as error:
        words = error.diag.message_primary or type(error).__name__
        raise StepFailed(f"the copy could not be neutralised: {title}: {words}") from error


def _subscriptions(connection: psycopg.Connection[Any]) -> Iterator[Act]:
    names = connection.execute(
        "SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid "
        "WHERE d.datname = current_database()"
    ).fetchall()
    for (name,) in names:
        # Without its slot, so that nothing is asked of the publisher, which may be Production itself.
        title = f"subscription {name}"
        for form in ("ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)",
                     "DROP SUBSCRIPTION {}"):  # fmt: skip
            _run(connection, title, SQL(form).format(Identifier(name)))
        yield Act(title=title, count=1)
    connection.commit()


def _generic(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, Composed | SQL]]:
    for (name,) in connection.execute(
        "SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'D'"
    ).fetchall():
        yield f"event trigger {name}", SQL("ALTER EVENT TRIGGER {} DISABLE").format(Identifier(name))
    for server, role in connection.execute(
        "SELECT srvname, usename FROM pg_user_mappings ORDER BY 1, 2"
    ).fetchall():
        who = SQL("PUBLIC") if role in {None, "public"} else Identifier(role)
        yield (
            f"password for foreign server {server}",
            SQL("DROP USER MAPPING IF EXISTS FOR {} SERVER {}").format(who, Identifier(server)),
        )
    for server, option in connection.execute(
        "SELECT srvname, split_part(unnest(srvoptions), '=', 1) FROM pg_foreign_server"
    ).fetchall():
        if option in {"host", "hostaddr"}:
            yield (
                f"address of foreign server {server}",
                SQL("ALTER SERVER {} OPTIONS (SET {} {})").format(
                    Identifier(server), Identifier(option), SQL(f"'{NOWHERE}'")
                ),
            )
    if connection.execute("SELECT to_regclass('cron.job') IS NOT NULL").fetchone() == (True,):
        yield "scheduled jobs (pg_cron)", SQL("UPDATE cron.job SET active = false WHERE active")
    if connection.execute("SELECT to_regclass('pgagent.pga_job') IS NOT NULL").fetchone() == (True,):
        yield (
            "scheduled jobs (pgAgent)",
            SQL("UPDATE pgagent.pga_job SET jobenabled = false WHERE jobenabled"),
        )


def _rewrite(connection: psycopg.Connection[Any], table: tuple[str, str], column: str) -> int:
    row = connection.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass(%s) "
        "AND attname = %s AND NOT attisdropped",
        [Identifier(*table).as_string(connection), column],
    ).fetchone()
    if row is None:
        raise Refused(
            f"host_columns: the copy has no column {table[0]}.{table[1]}.{column}; correct protection.yml"
        )
    this = Identifier(column)
    # The application's own triggers must not take this for a user's change.
    with quiet_triggers(connection, *table):
        return _run(
            connection,
            f"host name in {table[1]}.{column}",
            SQL(
                "UPDATE {name} SET {this} = CAST(replace({this}::text, "
                "current_setting('freshet.source_host'), current_setting('freshet.target_host')) AS {kind}) "
                "WHERE strpos({this}::text, current_setting('freshet.source_host')) > 0"
            ).format(name=Identifier(*table), this=this, kind=SQL(row[0])),
        )
