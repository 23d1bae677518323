"""The physical copy: masked in private, nothing of Production left in it, never a way in before."""

from __future__ import annotations

import secrets
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from infra.postgres.base_backup import BaseBackup
from infra.postgres.golden import GoldenClone
from infra.postgres.golden_image import read_golden
from infra.postgres.methods import CopyJob
from infra.postgres.physical import Physical, golden_from_physical
from infra.postgres.progress import Meter, Progress, unwatched
from infra.postgres.selection import Selection, TableName
from infra.postgres.session import client_environment, passfile
from infra.postgres.stream import Stream
from infra.stack.cluster import Cluster, PostgresVersion, bin_dir
from policy.errors import Refused, StepFailed
from tests.integration.copies import OWNER, Copies, admin, digests
from tests.ports import free_port

CANARY = "canary-" + secrets.token_hex(12)
TABLES = f"""
SET ROLE copy_owner;
CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE, note text);
INSERT INTO person SELECT g, '{CANARY}' || g, repeat('x', 3000) || '{CANARY}' FROM generate_series(1, 2000) g;
CREATE TABLE visit (id int PRIMARY KEY, email text REFERENCES person (email), at date);
INSERT INTO visit SELECT g, '{CANARY}' || g, '2026-01-01' FROM generate_series(1, 2000) g;
CREATE TABLE log (id int, line text);
INSERT INTO log SELECT g, '{CANARY}' FROM generate_series(1, 500) g;
CREATE TABLE product (id int PRIMARY KEY, title text);
INSERT INTO product SELECT g, 'product ' || g FROM generate_series(1, 5000) g;
CREATE MATERIALIZED VIEW mails AS SELECT email FROM person;
CREATE INDEX ON person (lower(note));
ANALYZE;
"""  # noqa: S608 - a constant
MASK = sql.SQL("'p' || encode(sha256((current_setting('freshet.key') || {})::bytea), 'hex')").format(
    sql.Identifier("email")
)
MASKED = {
    TableName("public", "person"): Selection(columns={"email": MASK, "note": sql.SQL("'-'").format()}),
    TableName("public", "visit"): Selection(columns={"email": MASK}, where=sql.SQL("id <= 1500").format()),
    TableName("public", "log"): Selection(rows=False),
}

_EXPECTED = {
    "SELECT count(DISTINCT email) FROM person WHERE email LIKE 'p%' AND note = '-'": 2000,
    "SELECT count(*) FROM visit JOIN person USING (email)": 1500,
    "SELECT count(*) FROM log": 0,
    "SELECT count(*) FROM product": 5000,
    "SELECT count(*) FROM mails WHERE email LIKE 'p%'": 2000,
    "SELECT count(*) FROM pg_index WHERE NOT (indisvalid AND indisready)": 0,
    "SELECT count(*) FROM pg_constraint WHERE NOT convalidated": 0,
}


@pytest.fixture(scope="module")
def copies(
    live_cluster: Cluster, trial_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Copies]:
    made = Copies(live_cluster, trial_cluster, tmp_path_factory.mktemp("copies"))
    rules = live_cluster.data / "pg_hba.conf"
    closed = rules.read_text(encoding="utf-8")
    rules.write_text(closed + "host replication copy_reader 127.0.0.1/32 scram-sha-256\n", encoding="utf-8")
    with admin(live_cluster) as connection:
        connection.execute("ALTER ROLE copy_reader REPLICATION")
        connection.execute("SELECT pg_reload_conf()")
    try:
        yield made
    finally:
        with admin(live_cluster) as connection:
            connection.execute("ALTER ROLE copy_reader NOREPLICATION")
            rules.write_text(closed, encoding="utf-8")
            connection.execute("SELECT pg_reload_conf()")
        made.close()


@pytest.fixture(scope="module")
def source(copies: Copies) -> str:
    return copies.source(TABLES)


@pytest.fixture
def job(copies: Copies, source: str, tmp_path: Path) -> CopyJob:
    made = copies.job(source, incoming=f"shop__in_r{secrets.randbelow(10**6) + 1}a1", selections=MASKED)
    return replace(made, dedicated=tmp_path / "dedicated")


def files_with(word: str, folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def test_a_dedicated_server_gets_masked_files_and_nothing_else(copies: Copies, job: CopyJob) -> None:
    method = Physical()
    offer = method.offer(job)
    assert offer.applies, offer.why
    before = digests(copies.live, job.source_database)
    assert files_with(CANARY, copies.live.data), "the canary is in Production's files"
    report = method.copy(job, copies.watch)
    assert job.dedicated is not None
    assert stat.S_IMODE(job.dedicated.stat().st_mode) == 0o700
    assert files_with(CANARY, job.dedicated) == [], "raw values are in no file: heap, index, log, statistics"
    assert [path.name for path in job.dedicated.parent.iterdir()] == ["dedicated"]
    assert digests(copies.live, job.source_database) == before
    dedicated = Cluster(data=job.dedicated, port=free_port())
    assert dedicated.system_identifier() != copies.live.system_identifier()
    dedicated.start()
    try:
        with admin(dedicated) as connection:
            names = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            assert names == {"template0", "template1", "postgres", job.incoming}
            left = connection.execute(
                "SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL"
            ).fetchall()
            assert left == [(OWNER.user,)]
        server = replace(job.target, port=dedicated.port)
        with replace(job, target=server).on_target() as owner:
            for query, expected in _EXPECTED.items():
                assert owner.execute(query).fetchone() == (expected,), query
            owner.execute("SET enable_seqscan = off")
            found = owner.execute(
                "SELECT count(*) FROM person WHERE email = (SELECT email FROM person ORDER BY id LIMIT 1)"
            ).fetchone()
            assert found == (1,)
    finally:
        dedicated.stop(fast=False)
    assert report.phases.keys() == {"base backup", "masking", "hand over"}


def test_nobody_reaches_it_while_it_is_unmasked(job: CopyJob) -> None:
    """Looks at every moment for a socket that is open to others or a network port of the private cluster."""
    seen: list[str] = []
    assert job.dedicated is not None
    folder = job.dedicated.parent

    def look(progress: Progress) -> None:
        seen.append(progress.phase)
        for making in folder.glob("*.making"):
            assert stat.S_IMODE(making.stat().st_mode) == 0o700
            running = making / "postmaster.pid"
            if running.exists():
                lines = running.read_text(encoding="utf-8").splitlines()
                if len(lines) > 5:
                    assert lines[5] == "", "it listens on no network address"
                    assert stat.S_IMODE(Path(lines[4]).stat().st_mode) == 0o700

    Physical().copy(job, look)
    assert {"base backup", "masking"} <= set(seen)


def test_a_broken_mask_leaves_nothing(copies: Copies, job: CopyJob) -> None:
    broken = Selection(columns={"email": sql.SQL("'same for all'").format()})
    spoiled = replace(job, selections={**job.selections, TableName("public", "person"): broken})
    with pytest.raises(StepFailed, match=r"masking public\.person.*person_email_key") as failed:
        Physical().copy(spoiled, unwatched)
    assert CANARY not in str(failed.value)
    assert job.dedicated is not None
    assert list(job.dedicated.parent.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("copy-")]


def test_masks_that_break_a_foreign_key_are_refused(job: CopyJob) -> None:
    other = Selection(columns={"email": sql.SQL("'q' || id").format()})
    spoiled = replace(job, selections={**job.selections, TableName("public", "visit"): other})
    with pytest.raises(StepFailed, match="broke foreign key 'visit_email_fkey'"):
        Physical().copy(spoiled, unwatched)


def test_it_is_offered_only_where_it_can_be_done(copies: Copies, job: CopyJob) -> None:
    assert "not dedicated" in Physical().offer(replace(job, dedicated=None)).why
    with admin(copies.live) as connection:
        connection.execute("ALTER ROLE copy_reader NOREPLICATION")
        offer = Physical().offer(job)
        connection.execute("ALTER ROLE copy_reader REPLICATION")
    assert not offer.applies
    assert "replication right" in offer.why
    assert job.dedicated is not None
    job.dedicated.mkdir()
    with pytest.raises(Refused, match="exists"):
        Physical().copy(job, unwatched)


def test_a_golden_image_from_files_costs_production_no_reading_of_rows(
    copies: Copies, job: CopyJob, tmp_path: Path
) -> None:
    kept = replace(job, incoming=copies.incoming(), dedicated=None, golden=f"g{secrets.token_hex(4)}__golden")
    report = golden_from_physical(kept, tmp_path / "private", unwatched)
    assert kept.golden is not None
    copies.made.append((copies.trial, kept.golden))
    assert report.method == "physical"
    assert list(tmp_path.iterdir()) == []
    with admin(copies.trial) as connection:
        image = read_golden(connection, kept.golden)
        connected = connection.execute(
            "SELECT datallowconn FROM pg_database WHERE datname = %s", [kept.golden]
        ).fetchone()
    assert image is not None
    assert image.source == f"live/{kept.source_database}"
    assert connected == (False,)
    clone = replace(kept, incoming=f"shop__in_r{secrets.randbelow(10**6) + 1}a1")
    offer = GoldenClone().offer(clone)
    assert offer.applies, offer.why
    GoldenClone().copy(clone, unwatched)
    copies.made.append((copies.trial, clone.incoming))
    with clone.on_target() as owner:
        for query, expected in _EXPECTED.items():
            assert owner.execute(query).fetchone() == (expected,), query
    with pytest.raises(psycopg.OperationalError):
        admin(copies.trial, kept.golden).close()


def test_a_second_attempt_clears_what_a_killed_one_left(job: CopyJob) -> None:
    """The first is stopped in the middle as a kill would: its server goes on, unmasked and closed."""
    assert job.dedicated is not None
    making = job.dedicated.with_name(f"{job.dedicated.name}.{job.incoming}.making")
    left = BaseBackup(job, data=making, major=18, superuser="postgres", prepared=4)
    left.take(bin_dir(PostgresVersion.V18), Meter(bytes_total=1, weight=1), unwatched)
    left.start()
    Physical().copy(job, unwatched)
    assert [path.name for path in job.dedicated.parent.iterdir()] == ["dedicated"]
    assert not left.sockets.exists()
    assert not left.cluster.running()


@pytest.mark.slow
def test_a_replica_serves_as_the_source(copies: Copies, tmp_path: Path) -> None:
    source = copies.source(TABLES, "SET ROLE copy_owner; CREATE UNLOGGED TABLE quick (id serial)")
    with admin(copies.live, source) as connection:
        connection.execute("INSERT INTO quick DEFAULT VALUES")
        connection.execute("CHECKPOINT")
    job = copies.job(source, selections=MASKED)
    data = tmp_path / "replica"
    with passfile((job.source, job.reader), secrets=job.secrets, scratch=job.scratch) as secret:
        environment = client_environment(
            job.source, job.reader, database=source, passfile=secret, run=job.run
        )
        words = [str(bin_dir(PostgresVersion.V18) / "pg_basebackup"), "-R", "-c", "fast", "-D", str(data)]
        subprocess.run(words, env=environment, check=True)
    (data / "standby.signal").touch()
    settings = {"hot_standby": "on", "primary_conninfo": "", "max_prepared_transactions": "4"}
    replica = Cluster(data=data, port=free_port(), settings=settings)
    replica.start()
    try:
        read = replace(job, source=replace(job.source, port=replica.port))
        offer = Stream().offer(read)
        assert offer.applies, offer.why
        report = Stream().copy(read, unwatched)
    finally:
        replica.stop(fast=False)
    for query, expected in _EXPECTED.items():
        assert copies.rows(job, query) == [(expected,)], query
    assert report.left_out == ("rows of public.quick: a replica has none of an unlogged table",)
