"""Whatever stands in a protection policy: a policy or findings; a column is never kept by mistake."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.protection_file import ROLES, parse_protection
from policy.errors import Refused
from policy.names import ApplicationName
from policy.protection import Keep, Protection
from tests.fuzz.flat import ALLOWED, grows
from tests.fuzz.mutations import mutations

QUICK, MANY = 300, 30_000
GOOD = [path.read_text(encoding="utf-8") for path in sorted(ROLES.glob("app_*/protection.yml"))]


def judge(text: str) -> Protection | None:
    """Read `text` as a policy and prove what must hold of either answer."""
    findings: tuple[str, ...] = ()
    found = None
    try:
        found = parse_protection(ApplicationName("fuzz"), text, file="protection.yml")
    except Refused as refused:
        findings = refused.findings
    if found is None:
        assert findings
        for finding in findings:
            assert finding.startswith("protection.yml"), finding
            assert finding.isprintable(), finding
            assert len(finding) < 1500
        return None
    for table in found.tables.values():
        for rule in table.columns.values():
            # What keeps a column has to be written in so many words.
            assert not isinstance(rule, Keep) or "keep" in text
    return found


def test_any_policy_is_read_or_refused(record_property: Callable[[str, object], None]) -> None:
    assert _many(QUICK, seed=6) > 2, "the inputs never get past the door, so they prove little"
    record_property("fuzz_inputs", QUICK * len(GOOD))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_30_000_policies_crash_nothing(record_property: Callable[[str, object], None]) -> None:
    each = MANY // len(GOOD)
    assert _many(each, seed=66) > 200
    record_property("fuzz_inputs", each * len(GOOD))


@pytest.mark.slow
def test_policies_leave_memory_flat(record_property: Callable[[str, object], None]) -> None:
    texts = mutations(GOOD[0], 666)
    assert grows(lambda: judge(next(texts)), 300) < ALLOWED
    record_property("fuzz_inputs", 900)


def _many(number: int, *, seed: int) -> int:
    accepted = 0
    for place, good in enumerate(GOOD):
        texts = mutations(good, seed + place)
        accepted += sum(judge(next(texts)) is not None for _ in range(number))
    return accepted
