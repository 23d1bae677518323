"""Databases to copy from and into, for the tests of the copy methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from infra.postgres.methods import CopyJob
from infra.postgres.selection import TableName
from infra.stack.cluster import Cluster
from tests.integration.copied_shop import MASKED, SHOP
from tests.integration.copies import Copies


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


@pytest.fixture
def job(copies: Copies, shop: str) -> CopyJob:
    made = copies.job(shop, selections=MASKED)
    leaves = {TableName("public", "part_a"), TableName("public", "part_b")}
    return replace(made, selections={k: v for k, v in made.selections.items() if k not in leaves})
