"""What the tests of applications do to databases, beside what a trial can do."""

from __future__ import annotations

from psycopg import sql

from infra.application_trial import Trial


def exchange(site: Trial, environment: str) -> None:
    """Put a copy into the place of a database that is in use, as a refresh does."""
    name = site.databases[environment]
    database, copy, old = (sql.Identifier(name + suffix) for suffix in ("", "__snap", "__old"))
    with site.administer() as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(copy, database, database)
        )
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(database, old))
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(copy, database))
        connection.execute(sql.SQL("DROP DATABASE {}").format(old))
