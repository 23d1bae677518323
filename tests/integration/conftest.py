"""The grounds that several files of this folder stand on: copies, refreshes, swaps, policies, requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from infra.ledger.connection import Ledger
from infra.postgres.methods import CopyJob
from infra.postgres.selection import TableName
from infra.stack.cluster import Cluster
from tests.integration import protected_shop
from tests.integration.copied_shop import MASKED, SHOP
from tests.integration.copies import Copies
from tests.integration.dedicated_servers import Dedicated, dedicated_server, written_data
from tests.integration.engine_servers import Start, starting, version_16
from tests.integration.kinto_tables import KINTO_ROWS, KINTO_SCHEMA, LINK_ROW, OWN_ROWS
from tests.integration.ledgers import fresh_ledger
from tests.integration.refreshes import Refreshes, refreshes
from tests.integration.request_worlds import RequestWorld, request_world
from tests.integration.scratch_database import scratch_database
from tests.integration.swapped_server import Server, served
from tests.integration.terminals import Terminal, terminal_in


@pytest.fixture(scope="module")
def copies(
    live_cluster: Cluster, trial_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Copies]:
    made = Copies(live_cluster, trial_cluster, tmp_path_factory.mktemp("copies"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def shop(copies: Copies) -> str:
    return copies.source(SHOP)


@pytest.fixture(scope="module")
def protected(live_cluster: Cluster) -> Iterator[psycopg.Connection]:
    """The shop that `POLICY` protects, in Production; tests change no rows of it."""
    with scratch_database(live_cluster, protected_shop.SHOP, protected_shop.ROWS) as session:
        yield session


@pytest.fixture
def job(copies: Copies, shop: str) -> CopyJob:
    made = copies.job(shop, selections=MASKED)
    leaves = {TableName("public", "part_a"), TableName("public", "part_b")}
    return replace(made, selections={k: v for k, v in made.selections.items() if k not in leaves})


@pytest.fixture(scope="module")
def ledger(trial_cluster: Cluster) -> Iterator[Ledger]:
    with fresh_ledger(trial_cluster) as made:
        yield made


@pytest.fixture
def empty(
    live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path, ledger: Ledger
) -> Iterator[Refreshes]:
    """Production and Sandbox of a customer, without a table."""
    with refreshes(live_cluster, trial_cluster, tmp_path, ledger) as made:
        yield made


@pytest.fixture
def lakeside(empty: Refreshes) -> Refreshes:
    """Production and Sandbox of a customer, each with rows of its own."""
    empty.fill(KINTO_SCHEMA + KINTO_ROWS)
    empty.fill(KINTO_SCHEMA + OWN_ROWS, database=empty.sandbox)
    return empty


@pytest.fixture
def linked(lakeside: Refreshes) -> Refreshes:
    """Lakeside with Production's own address among its rows."""
    lakeside.fill(LINK_ROW)
    return lakeside


@pytest.fixture
def world(live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path) -> Iterator[RequestWorld]:
    """Where requests live, with the web applications of Lakeside and of a group's customers installed."""
    with request_world(live_cluster, trial_cluster, tmp_path) as made:
        for name in ("lakeside", "bay", "cove", "dune", "harbor"):
            made.install(f"{name}/live", "23.1.0")
        made.install("lakeside/staging", "24.1.1")
        yield made


@pytest.fixture
def terminal(world: RequestWorld) -> Iterator[Terminal]:
    """Where the command is typed in `world`."""
    with terminal_in(world) as made:
        yield made


@pytest.fixture
def server(trial_cluster: Cluster) -> Iterator[Server]:
    """A server whose database serves, and is to be swapped."""
    with served(trial_cluster) as made:
        yield made


@pytest.fixture(scope="session")
def dedicated_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that every dedicated server begins with, written once."""
    return written_data(tmp_path_factory.mktemp("dedicated"))


@pytest.fixture
def dedicated(dedicated_files: Path, tmp_path: Path) -> Iterator[Dedicated]:
    """A server that one web application has to itself."""
    with dedicated_server(dedicated_files, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def engine_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that every server of version 16 begins with, written once."""
    return version_16(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def start(engine_files: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts servers of version 16."""
    with starting(engine_files, tmp_path) as begin:
        yield begin
