"""The estate is read again when its file has changed, however it was changed, and only then."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from infra import estate_now as module
from infra.estate_file import load_estate
from infra.estate_now import estate_now
from policy.errors import Refused
from tests.faults.declaration import estate_of


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every time that the file is really read. As if all files had been left alone for a while."""
    seen: list[Path] = []
    load = load_estate

    def counted(path: Path) -> object:
        seen.append(path)
        return load(path)

    monkeypatch.setattr(module, "load_estate", counted)
    monkeypatch.setattr(module, "SETTLED_NS", -1)
    return seen


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return declare(tmp_path, "first")


def declare(folder: Path, word: str) -> Path:
    lock = folder / "leaf.txt"
    lock.write_bytes(b"leaf\n")
    told = estate_of(
        word=word,
        lock=lock,
        databases={"production": "prod", "sandbox": "sand", "staging": "stag"},
        ports={"live": 1, "trial": 2},
        identities={"live": "7000000000000000001", "trial": "7000000000000000002"},
        roles={"live-owner": "owner", "live-reader": "reader", "trial-owner": "other"},
        hosts=folder,
    )
    path = folder / "estate.yaml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return path


def test_an_unchanged_file_is_read_once(file: Path, reads: list[Path]) -> None:
    first = estate_now(file)
    assert estate_now(file) is first
    assert len(reads) == 1


def rewritten(file: Path) -> None:
    file.write_bytes(file.read_bytes())


def replaced(file: Path) -> None:
    aside = file.with_suffix(".new")
    aside.write_bytes(file.read_bytes())
    aside.replace(file)


def with_its_old_time(file: Path) -> None:
    seen = file.stat()
    file.write_bytes(file.read_bytes())
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize("change", [rewritten, replaced, with_its_old_time])
def test_a_changed_file_is_read_again(file: Path, reads: list[Path], change: Callable[[Path], None]) -> None:
    estate_now(file)
    time.sleep(0.02)
    change(file)
    estate_now(file)
    assert len(reads) == 2


def test_a_changed_lock_is_noticed(file: Path, reads: list[Path]) -> None:
    estate_now(file)
    (file.parent / "leaf.txt").write_bytes(b"other\n")
    with pytest.raises(Refused, match="lock file"):
        estate_now(file)
    (file.parent / "leaf.txt").unlink()
    with pytest.raises(Refused, match=r"leaf\.txt"):
        estate_now(file)


def test_a_mistake_is_not_remembered(file: Path, reads: list[Path]) -> None:
    right = file.read_text()
    file.write_text(right.replace("zone: UTC", "zone: Nowhere"))
    for _ in range(2):
        with pytest.raises(Refused, match="Nowhere"):
            estate_now(file)
    file.write_text(right)
    assert estate_now(file).customers
    assert len(reads) == 3


def test_a_file_that_was_just_changed_is_read_every_time(
    file: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes in one tick of the clock look alike, so nothing young is remembered."""
    monkeypatch.setattr(module, "SETTLED_NS", 2_000_000_000)
    estate_now(file)
    estate_now(file)
    assert len(reads) == 2
