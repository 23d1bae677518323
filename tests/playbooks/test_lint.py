"""The playbooks keep ansible-lint's strictest profile, and the locks pin everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.application_trial import RELEASES
from infra.roles import PLAYBOOKS

BIN = Path(sys.executable).parent


def test_ansible_lint_production_profile(tmp_path: Path) -> None:
    done = subprocess.run(
        [BIN / "ansible-lint", "--offline", "--profile=production", "--strict", "-q", "--nocolor"],
        cwd=PLAYBOOKS,
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "lock", sorted(RELEASES.rglob("*.txt")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_package_is_pinned_and_hashed(lock: Path) -> None:
    entries = re.sub(r"\\\n", " ", lock.read_text()).splitlines()
    assert len(entries) > 10
    for entry in entries:
        assert re.fullmatch(
            r"[a-z0-9.-]+(\[[a-z,]+\])?==[0-9a-zA-Z.]+( +--hash=sha256:[0-9a-f]{64})+", entry
        ), entry
    names = [entry.partition("==")[0] for entry in entries]
    assert len(names) == len(set(names))
    assert f"{lock.parent.name}=={lock.stem.partition('-')[0]}" in "\n".join(entries)
