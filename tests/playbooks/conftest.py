"""What several files of this folder are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.playbooks.ansible_bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Where playbooks are written and run."""
    return Bench(tmp_path)
