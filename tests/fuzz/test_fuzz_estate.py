"""Whatever stands in the estate's file: an estate or findings, never another error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from infra.estate_file import check_estate, load_estate
from policy.errors import Refused
from tests.faults.declaration import estate_of
from tests.fuzz.flat import ALLOWED, grows
from tests.fuzz.mutations import mutations

QUICK, MANY = 250, 20_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A right estate, written as people write it."""
    lock = tmp_path / "leaf.txt"
    lock.write_bytes(b"leaf\n")
    told = estate_of(
        word="fuzz",
        lock=lock,
        databases={"production": "prod", "sandbox": "sand", "staging": "stag"},
        ports={"live": 5432, "trial": 5433},
        identities={"live": "7000000000000000001", "trial": "7000000000000000002"},
        roles={"live-owner": "live_owner", "live-reader": "reader", "trial-owner": "trial_owner"},
        hosts=tmp_path,
    )
    path = tmp_path / "estate.yaml"
    path.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
    return path


def judge(path: Path, text: str) -> bool:
    """Read `text` as the estate's file and prove what must hold of either answer."""
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    estate, findings = check_estate(path)
    if estate is not None:
        assert not findings
        return True
    assert findings
    for finding in findings:
        said = str(finding)
        assert finding.problem
        assert finding.remedy
        assert said.isprintable(), said
        assert len(said) < 1500
    with pytest.raises(Refused):
        load_estate(path)
    return False


def test_any_estate_is_read_or_refused(file: Path, record_property: Callable[[str, object], None]) -> None:
    accepted = _many(file, QUICK, seed=6)
    assert accepted > 2, "the inputs never get past the door, so they prove little"
    record_property("fuzz_inputs", QUICK)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_20_000_estates_crash_nothing(file: Path, record_property: Callable[[str, object], None]) -> None:
    accepted = _many(file, MANY, seed=66)
    assert accepted > 200
    record_property("fuzz_inputs", MANY)


@pytest.mark.slow
def test_estates_leave_memory_flat(file: Path, record_property: Callable[[str, object], None]) -> None:
    texts = mutations(file.read_text(encoding="utf-8"), 666)
    assert grows(lambda: judge(file, next(texts)), 300) < ALLOWED
    record_property("fuzz_inputs", 900)


def _many(file: Path, number: int, *, seed: int) -> int:
    texts = mutations(file.read_text(encoding="utf-8"), seed)
    return sum(judge(file, next(texts)) for _ in range(number))
