"""A small shop with personal data in it, the masks that take it out, and what is asked of a copy."""

from __future__ import annotations

import secrets
import time

from psycopg import sql

from infra.postgres.methods import CopyJob
from infra.postgres.selection import Selection, TableName
from infra.postgres.session import application_name
from tests.integration.copies import Copies, admin

CANARY = "canary-" + secrets.token_hex(12)
SHOP = f"""
SET ROLE copy_owner;
CREATE TABLE person (
  id int PRIMARY KEY, email varchar(80) UNIQUE, born date, code char(4), tags text[], about jsonb);
INSERT INTO person SELECT g, '{CANARY}' || g, '1990-01-01', 'abc', ARRAY['{CANARY}'], '{{"a": "{CANARY}"}}'
  FROM generate_series(1, 3000) g;
CREATE TABLE visit (id int PRIMARY KEY, email varchar(80) REFERENCES person (email), at date);
INSERT INTO visit SELECT g, '{CANARY}' || g, date '2026-01-01' + g FROM generate_series(1, 900) g;
CREATE TABLE log (id int, line text);
INSERT INTO log SELECT g, '{CANARY}' FROM generate_series(1, 500) g;
CREATE TABLE product (id int PRIMARY KEY, title text);
INSERT INTO product SELECT g, repeat('product ' || g, 20) FROM generate_series(1, 60000) g;
CREATE MATERIALIZED VIEW mails AS SELECT email FROM person;
CREATE TABLE part (at date, who text) PARTITION BY LIST (who);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE part_b PARTITION OF part DEFAULT;
INSERT INTO part VALUES ('2026-01-01', 'a'), ('2026-01-02', 'b'), ('2026-01-03', 'a');
ANALYZE;
"""  # noqa: S608 - a constant
PERSON = TableName("public", "person")


def words(text: str) -> sql.Composed:
    """An expression."""
    return sql.Composed([sql.SQL(text)])


MASK = words("left('p' || encode(sha256((current_setting('freshet.key') || email)::bytea), 'hex'), 30)")
MASKED = {
    PERSON: Selection(
        columns={"email": MASK, "tags": words("ARRAY['-']"), "about": words("'{}'"), "code": words("'zz'")}
    ),
    TableName("public", "visit"): Selection(columns={"email": MASK}, where=words("id <= 800")),
    TableName("public", "log"): Selection(rows=False),
    TableName("public", "part"): Selection(columns={"who": words("'a'")}),
}


def everything_in(copies: Copies, job: CopyJob) -> str:
    """Every row of the copy as text."""
    found = []
    with admin(copies.trial, job.incoming) as connection:
        for (table,) in connection.execute(
            "SELECT oid::regclass::text FROM pg_class"
            " WHERE relkind IN ('r', 'm') AND relnamespace = 'public'::regnamespace"
        ).fetchall():
            found.append(repr(connection.execute(f"SELECT x::text FROM {table} x").fetchall()))  # noqa: S608 - names from the catalog
        found.append(repr(connection.execute("SELECT s::text FROM pg_stats s").fetchall()))
    return "\n".join(found)


def assert_no_sessions(copies: Copies, job: CopyJob) -> None:
    deadline = time.monotonic() + 10
    for cluster in (copies.live, copies.trial):
        with admin(cluster) as connection:
            while connection.execute(
                "SELECT FROM pg_stat_activity WHERE application_name = %s", [application_name(job.run)]
            ).fetchone():
                assert time.monotonic() < deadline, "a session of the run is left over"
                time.sleep(0.05)
