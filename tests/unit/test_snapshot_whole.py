"""A copy of a stopped server's files is whole when it holds the same files with the same bytes."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from infra.roles import PLAYBOOKS

ROLES = PLAYBOOKS / "roles"
WHERE = {
    "postgres_programs": ROLES / "postgres_engine" / "module_utils" / "postgres_programs.py",
    "postgres_whole": ROLES / "postgres_snapshot" / "module_utils" / "postgres_whole.py",
}


def load(name: str) -> ModuleType:
    """What Ansible packs for its modules, under the name that they know it by."""
    full = f"ansible.module_utils.{name}"
    spec = importlib.util.spec_from_file_location(full, WHERE[name])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    load("postgres_programs")
    module = load("postgres_whole")
    # What pg_controldata says is the integration tests' part.
    told = {"Database cluster state": "shut down", "Data page checksum version": "0"}
    monkeypatch.setattr(module, "control", lambda _programs, _data: told)
    yield module
    for name in WHERE:
        del sys.modules[f"ansible.module_utils.{name}"]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    (data / "base" / "5").mkdir(parents=True)
    (data / "global").mkdir()
    (data / "base" / "5" / "1259").write_bytes(b"a" * 3_000_000)
    (data / "global" / "1262").write_bytes(b"b" * 8192)
    (data / "empty").touch()
    shutil.copytree(data, tmp_path / "copy")
    return data


def test_an_exact_copy_is_whole(whole: ModuleType, original: Path) -> None:
    copy = original.with_name("copy")
    whole.compare(Path("/bin"), original, copy)
    whole.read(Path("/bin"), copy, prefix=[], timeout_s=5)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda copy: (copy / "empty").unlink(), "same files: empty"),
        (lambda copy: (copy / "base" / "more").touch(), "same files: base/more"),
        (lambda copy: (copy / "global" / "1262").write_bytes(b"b" * 8191), "another size of global/1262"),
        (
            lambda copy: (copy / "base" / "5" / "1259").write_bytes(b"a" * 2_999_999 + b"z"),
            "1259 holds other bytes than",
        ),
    ],
)
def test_what_is_not_is_told(whole: ModuleType, original: Path, spoil: object, words: str) -> None:
    copy = original.with_name("copy")
    assert callable(spoil)
    spoil(copy)
    with pytest.raises(Exception, match=words) as raised:
        whole.compare(Path("/bin"), original, copy)
    assert type(raised.value).__name__ == "ServerError"
