"""The clusters under the stack and under the other tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from infra.stack import cluster as cluster_module
from infra.stack.cluster import Cluster, PostgresVersion, bin_dir
from policy.errors import Unavailable
from tests.ports import free_port


def test_two_clusters_are_two_identities(live_cluster: Cluster, trial_cluster: Cluster) -> None:
    seen = set()
    for cluster in (live_cluster, trial_cluster):
        with psycopg.connect(cluster.dsn()) as connection:
            row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
        assert row is not None
        assert row[0] == cluster.system_identifier()
        seen.add(row[0])
    assert len(seen) == 2


def test_standing_settings_hold(live_cluster: Cluster) -> None:
    with psycopg.connect(live_cluster.dsn()) as connection:
        rows: dict[str, str] = dict(
            connection.execute(
                "SELECT name, setting FROM pg_settings WHERE name IN "
                "('client_connection_check_interval', 'tcp_user_timeout', 'fsync', 'server_version_num')"
            ).fetchall()
        )
    assert rows["client_connection_check_interval"] == "500"
    assert rows["tcp_user_timeout"] == "5000"
    assert rows["fsync"] == "off"
    assert rows["server_version_num"].startswith("18")


def test_others_than_the_superuser_need_a_password(live_cluster: Cluster) -> None:
    with psycopg.connect(live_cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE ROLE stack_test_visitor LOGIN")
    try:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(live_cluster.dsn(user="stack_test_visitor"))
    finally:
        with psycopg.connect(live_cluster.dsn(), autocommit=True) as connection:
            connection.execute("DROP ROLE stack_test_visitor")


def test_life_of_a_cluster(tmp_path: Path) -> None:
    """It is made once, outlives its starter, and comes back after being killed."""
    data = tmp_path / ("long-" * 30) / "data"
    cluster = Cluster(data=data, port=free_port(), settings={"fsync": "off"})
    (tmp_path / ("long-" * 30) / "data.making-0123abcd").mkdir(parents=True)  # a killed attempt
    cluster.initialise()
    identity = cluster.system_identifier()
    cluster.initialise()
    assert cluster.system_identifier() == identity
    assert not cluster.running()
    starter = (
        "import sys; from pathlib import Path; from infra.stack.cluster import Cluster; "
        "Cluster(data=Path(sys.argv[1]), port=int(sys.argv[2])).start()"
    )
    subprocess.run([sys.executable, "-c", starter, str(data), str(cluster.port)], check=True, timeout=60)
    try:
        assert cluster.running()
        cluster.start()
        pid = cluster.postmaster()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while cluster.running() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (data / "postmaster.pid").exists()
        # The dead server's process id now belongs to somebody else: this very process.
        text = (data / "postmaster.pid").read_text().split("\n", 1)[1]
        (data / "postmaster.pid").write_text(f"{os.getpid()}\n{text}")
        assert not cluster.running()
        cluster.start()
        with psycopg.connect(cluster.dsn()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        cluster.stop()
    assert not cluster.running()
    cluster.stop()


def test_version_16_is_there_too(tmp_path: Path) -> None:
    cluster = Cluster(data=tmp_path / "data", port=free_port(), version=PostgresVersion.V16)
    cluster.initialise()
    assert (tmp_path / "data" / "PG_VERSION").read_text() == "16\n"
    other = Cluster(data=tmp_path / "data", port=free_port())
    with pytest.raises(Unavailable, match="is of PostgreSQL 16, not 18"):
        other.initialise()


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    cluster = Cluster(data=tmp_path / "data", port=free_port(), settings={"shared_buffers": "nonsense"})
    cluster.initialise()
    with pytest.raises(Unavailable, match="shared_buffers"):
        cluster.start()


def test_programs_of_the_wrong_version_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cluster_module.BINARIES, str(bin_dir(PostgresVersion.V16)))
    with pytest.raises(Unavailable, match="holds PostgreSQL 16, 18 is needed"):
        bin_dir(PostgresVersion.V18)
