"""What every test may ask for: two real PostgreSQL clusters, so that fences between them are real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack.cluster import Cluster
from tests.ports import free_port

# No test has a Prefect server to send its log lines to; set before Prefect is imported anywhere.
os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"

LONGEST_FIRST = frozenset(
    {
        "test_engine_request", "test_engine_upgrade", "test_kinto", "test_upgrades", "test_stack_whole",
        "test_stack_recovery", "test_lint", "test_fault_kills", "test_engine_put_back",
    }
)  # fmt: skip
"""Begun first, so that at the end no process has minutes of work left while the other has none."""

FAST_AND_FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "max_prepared_transactions": "4",
    "jit": "off",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: item.path.stem not in LONGEST_FIRST)


def _running(data: Path) -> Iterator[Cluster]:
    cluster = Cluster(data=data, port=free_port(), settings=FAST_AND_FORGETFUL)
    cluster.initialise()
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop(fast=False)


@pytest.fixture(scope="session")
def live_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL 18 server that stands for Production; `postgres` is trusted on loopback."""
    yield from _running(tmp_path_factory.mktemp("live") / "data")


@pytest.fixture(scope="session")
def trial_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A second PostgreSQL 18 server that stands for Sandbox and Staging."""
    yield from _running(tmp_path_factory.mktemp("trial") / "data")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Where SQS, SNS, S3 and SES answer: a moto server in this process."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - slow to import, and few tests need it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
