"""The demo's records, in tables that a real Kinto made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from infra.stack.cluster import Cluster
from infra.stack.demo_records import canary, load_records
from infra.stack.layout import PROJECT
from policy.errors import Refused
from policy.names import CustomerName

LAKESIDE, HARBOR = CustomerName("lakeside"), CustomerName("harbor")
RECORDS = 4000
DIGEST = (
    "SELECT md5(string_agg(id || parent_id || last_modified || data, ',' ORDER BY id))"
    " FROM objects WHERE parent_id LIKE '/buckets/%'"
)


@pytest.fixture(scope="module")
def kinto(tmp_path_factory: pytest.TempPathFactory, live_cluster: Cluster) -> Iterator[str]:
    """The connection string of a database that Kinto 23.1.0 has migrated."""
    folder = tmp_path_factory.mktemp("kinto")
    uv = Path(sys.executable).with_name("uv")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    lock = PROJECT / "releases" / "kinto" / "23.1.0.txt"
    subprocess.run([uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", lock], check=True)
    name = sql.Identifier("stack_test_records")
    with psycopg.connect(live_cluster.dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
    url = f"postgresql://postgres@127.0.0.1:{live_cluster.port}/stack_test_records"
    ini = folder / "kinto.ini"
    ini.write_text(
        "[app:main]\nuse = egg:kinto\nkinto.userid_hmac_secret = x\n"
        + "".join(
            f"kinto.{part}_backend = kinto.core.{part}.postgresql\nkinto.{part}_url = {url}\n"
            for part in ("storage", "permission", "cache")
        )
    )
    subprocess.run([python.with_name("kinto"), "migrate", "--ini", ini], check=True, capture_output=True)
    yield live_cluster.dsn("stack_test_records")
    with psycopg.connect(live_cluster.dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_records_are_the_same_every_time_and_full_of_canaries(kinto: str) -> None:
    digests = []
    for _ in range(2):
        with psycopg.connect(kinto) as connection:
            connection.execute("TRUNCATE objects, access_control_entries")
            load_records(connection, customer=LAKESIDE, records=RECORDS)
            digests.append(connection.execute(DIGEST).fetchone())
            load_records(connection, customer=LAKESIDE, records=RECORDS)
            assert connection.execute(DIGEST).fetchone() == digests[-1]
    assert digests[0] == digests[1]
    with psycopg.connect(kinto) as connection:
        counted: dict[str, int] = dict(
            connection.execute("SELECT resource_name, count(*) FROM objects GROUP BY 1").fetchall()
        )
        assert counted == {"record": RECORDS, "collection": 3, "bucket": 1, "account": 20, "group": 1}
        marked = connection.execute(
            "SELECT count(*) FROM objects, jsonb_each_text(data) WHERE resource_name = 'record'"
            " AND value ILIKE %s AND key = ANY(%s)",
            [f"%{canary(LAKESIDE)}%", ["given_name", "family_name", "name", "email", "street", "notes"]],
        ).fetchone()
        assert marked is not None
        assert marked[0] >= 6 * 3
        # Every student's guardian is there, and lives at the same address.
        households = connection.execute(
            "SELECT count(*) FILTER (WHERE g.data ->> 'postcode' = s.data ->> 'postcode'), count(*)"
            " FROM objects s"
            " JOIN objects g ON g.id = s.data ->> 'guardian' AND g.parent_id LIKE '%/guardians'"
            " WHERE s.parent_id LIKE '%/students'"
        ).fetchone()
        assert households == (RECORDS * 55 // 100, RECORDS * 55 // 100)
        on = connection.execute("SELECT tgenabled FROM pg_trigger WHERE tgname = 'tgr_objects_last_modified'")
        assert on.fetchone() == ("O",)


def test_another_customer_has_other_people(kinto: str) -> None:
    seen = []
    for customer in (LAKESIDE, HARBOR):
        with psycopg.connect(kinto) as connection:
            connection.execute("TRUNCATE objects, access_control_entries")
            load_records(connection, customer=customer, records=RECORDS)
            seen.append(
                {
                    row[0]
                    for row in connection.execute("SELECT data ->> 'email' FROM objects WHERE data ? 'email'")
                }
            )
            other = HARBOR if customer is LAKESIDE else LAKESIDE
            found = connection.execute(
                "SELECT count(*) FROM objects WHERE data::text ILIKE %s", [f"%{canary(other)}%"]
            )
            assert found.fetchone() == (0,)
    assert len(seen[0]) == RECORDS
    assert seen[0].isdisjoint(seen[1])


def test_without_tables_or_records_nothing_is_written(live_cluster: Cluster) -> None:
    with psycopg.connect(live_cluster.dsn()) as connection:
        with pytest.raises(Refused, match="run its migration first"):
            load_records(connection, customer=LAKESIDE, records=10)
        with pytest.raises(Refused, match="at least three"):
            load_records(connection, customer=LAKESIDE, records=2)
