"""Copies between versions, and of what extensions call their users' rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.postgres.methods import CopyJob
from infra.postgres.preflight import preflight
from infra.postgres.progress import unwatched
from infra.postgres.stream import Stream
from infra.stack.cluster import Cluster, PostgresVersion
from tests.integration.copied_shop import CANARY, SHOP, everything_in
from tests.integration.copies import Copies, admin, digests
from tests.ports import free_port


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL 16 server."""
    cluster = Cluster(
        data=tmp_path_factory.mktemp("older") / "data",
        port=free_port(),
        version=PostgresVersion.V16,
        settings={"fsync": "off", "shared_buffers": "32MB"},
    )
    cluster.initialise()
    cluster.start()
    yield cluster
    cluster.stop(fast=False)


@pytest.mark.slow
def test_a_newer_target_gets_everything(
    older: Cluster, trial_cluster: Cluster, tmp_path: Path, job: CopyJob
) -> None:
    upward = Copies(older, trial_cluster, tmp_path)
    try:
        source = upward.source(SHOP)
        plain = upward.job(source)
        assert preflight(plain) == ()
        Stream().copy(plain, unwatched)
        assert digests(trial_cluster, plain.incoming) == digests(older, source)
        masked = replace(upward.job(source), selections=job.selections)
        Stream().copy(masked, unwatched)
        assert CANARY not in everything_in(upward, masked)
    finally:
        upward.close()


@pytest.mark.slow
def test_an_older_target_is_refused(older: Cluster, copies: Copies, job: CopyJob) -> None:
    """The roles of the older server are those of the test before."""
    downward = replace(job, target=replace(job.target, port=older.port))
    told = "\n".join(preflight(downward))
    assert "is PostgreSQL 16, the source is 18" in told


@pytest.fixture
def extension(live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """An extension with a table of its own, of which some rows are the user's; known to both servers."""
    folder = tmp_path / "extension"
    folder.mkdir()
    (folder / "probe.control").write_text(
        "default_version = '1.0'\nrelocatable = false\nsuperuser = false\nschema = public\n", encoding="utf-8"
    )
    (folder / "probe--1.0.sql").write_text(
        "CREATE TABLE probe_setting (name text PRIMARY KEY, value text, own bool DEFAULT true);"
        "INSERT INTO probe_setting VALUES ('standard', 'comes with the extension', false);"
        "SELECT pg_catalog.pg_extension_config_dump('probe_setting', 'WHERE own');"
        "CREATE TABLE probe_inner (id int); INSERT INTO probe_inner VALUES (1);",
        encoding="utf-8",
    )
    for cluster in (live_cluster, trial_cluster):
        with admin(cluster) as connection:
            connection.execute(f"ALTER SYSTEM SET extension_control_path = '$system:{tmp_path}'")
            connection.execute("SELECT pg_reload_conf()")
    yield "probe"
    for cluster in (live_cluster, trial_cluster):
        with admin(cluster) as connection:
            connection.execute("ALTER SYSTEM RESET extension_control_path")
            connection.execute("SELECT pg_reload_conf()")


def test_an_extensions_table_gets_its_users_rows_once(copies: Copies, extension: str) -> None:
    source = copies.source(
        "SET ROLE copy_owner",
        f"CREATE EXTENSION {extension}",
        "INSERT INTO probe_setting VALUES ('mine', 'x')",
    )
    job = copies.job(source)
    assert {str(name) for name in job.selections} == {"public.probe_setting", "pg_catalog.pg_largeobject"}
    Stream().copy(job, unwatched)
    assert digests(copies.trial, job.incoming) == digests(copies.live, source)
