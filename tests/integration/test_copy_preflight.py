"""Preflight tells every hindrance at once, and nothing when there is none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from infra.postgres.methods import CopyJob
from infra.postgres.preflight import preflight
from infra.postgres.selection import Selection
from tests.integration.copied_shop import PERSON, words
from tests.integration.copies import Copies, admin
from tests.ports import free_port
from tests.waiting import wait_until


def test_a_good_copy_has_no_findings(copies: Copies, job: CopyJob) -> None:
    assert preflight(job, replaces=job.incoming) == ()


def test_everything_wrong_is_told_at_once(copies: Copies, job: CopyJob) -> None:
    with admin(copies.live, job.source_database) as live, admin(copies.trial) as trial:
        live.execute("GRANT INSERT ON product TO copy_reader; ALTER ROLE copy_reader CREATEDB")
        live.execute("CREATE EXTENSION vector")
        trial.execute("ALTER ROLE copy_owner NOCREATEDB")
        trial.execute("SELECT pg_create_physical_replication_slot('physical_one')")
        inside = psycopg.connect(copies.trial.dsn(job.incoming))
        inside.tpc_begin(inside.xid(1, "half", "done"))
        inside.execute("CREATE TABLE t (id int)")
        inside.tpc_prepare()
        inside.close()
        wrong = {PERSON: Selection(columns={"mail": words("'x'")})}
        try:
            findings = preflight(
                replace(job, spare_bytes=1000, active_limit=-1, selections={**job.selections, **wrong}),
                replaces=job.incoming,
            )
        finally:
            live.execute("REVOKE INSERT ON product FROM copy_reader; ALTER ROLE copy_reader NOCREATEDB")
            live.execute("DROP EXTENSION vector")
            trial.execute("ALTER ROLE copy_owner CREATEDB")
            trial.execute("SELECT pg_drop_replication_slot('physical_one')")
            with admin(copies.trial, job.incoming) as again:
                for (gid,) in again.execute("SELECT gid FROM pg_prepared_xacts").fetchall():
                    again.execute(f"ROLLBACK PREPARED '{gid}'")
    told = "\n".join(findings)
    for part in (
        "masks mail, which it does not store",
        "may create databases; a source is read by a role that can do nothing else",
        "may write to public.product",
        "more than the limit",
        "role 'copy_owner' may not create databases",
        "extension 'vector' needs a superuser",
        "has 0.0 GB free",
        "prepared transaction",
    ):
        assert part in told
    assert "physical_one" not in told, "a slot of the whole server hinders no swap"


def test_others_at_work_are_counted_by_the_roles_that_are_documented(copies: Copies, job: CopyJob) -> None:
    busy = replace(job, active_limit=0)
    with admin(copies.live) as connection, admin(copies.live) as other, ThreadPoolExecutor() as pool:
        at_work = pool.submit(other.execute, "SELECT pg_sleep(60)")
        try:
            wait_until(lambda: "has 1 active sessions" in "\n".join(preflight(busy)))
            connection.execute("REVOKE pg_read_all_stats FROM copy_reader")
            assert any("make it a member of pg_read_all_stats" in each for each in preflight(busy))
        finally:
            connection.execute("GRANT pg_read_all_stats TO copy_reader")
            other.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            at_work.result()


def test_a_superuser_is_no_reader(copies: Copies, job: CopyJob) -> None:
    with admin(copies.live) as connection:
        connection.execute("ALTER ROLE copy_reader SUPERUSER")
        try:
            told = "\n".join(preflight(job))
        finally:
            connection.execute("ALTER ROLE copy_reader NOSUPERUSER")
    assert "is a superuser" in told


def test_a_member_of_the_owner_is_no_reader(copies: Copies, job: CopyJob) -> None:
    with admin(copies.live) as connection:
        connection.execute("GRANT copy_owner TO copy_reader")
        try:
            told = "\n".join(preflight(job))
        finally:
            connection.execute("REVOKE copy_owner FROM copy_reader")
    assert "is a member of the database's owner" in told


def test_both_servers_down_is_told_of_both(job: CopyJob) -> None:
    away = free_port()
    findings = preflight(
        replace(job, source=replace(job.source, port=away), target=replace(job.target, port=away))
    )
    assert len(findings) == 2
    assert "server 'live'" in findings[0]
    assert "server 'trial'" in findings[1]


def test_a_disk_that_the_estate_declares_must_hold_the_copy_beside_what_is_kept(job: CopyJob) -> None:
    roomy = replace(job, target=replace(job.target, disk_gb=100_000))
    assert preflight(roomy) == ()
    (finding,) = preflight(replace(job, target=replace(job.target, disk_gb=0)))
    assert "0.0 GB free and the copy needs" in finding
    assert "correct its disk_gb" in finding
