"""What was tried to break it, and what came of it: `make faults`.

Invariant: every figure is counted from what pytest reports to have run, or from what a test itself counted
(`record_property`); nothing is typed in. A scenario whose tests did not run has no result.

Environment: FRESHET_SET_TEST_SECONDS (default 600) is the length of the long set test; FRESHET_QUEUE_REQUESTS
(default 10,000) how many go through the queue; FAULTS_PARTS names the parts to run anew, by commas (default:
all); the results of the other parts are kept from the last time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from benchmarks import queue
from benchmarks._scenarios import SCENARIOS, Scenario
from tests.faults.canaries import LOOKS as CANARIES

PROJECT = Path(__file__).parents[1]
KEPT = PROJECT / ".cache" / "faults"
PARTS: Mapping[str, tuple[str, ...]] = {
    **{
        path.stem.removeprefix("test_fault_"): (path.relative_to(PROJECT).as_posix(), "-m", "not longhaul")
        for path in sorted((PROJECT / "tests" / "faults").glob("test_fault_*.py"))
    },
    "set": ("tests/faults/test_fault_set.py", "-m", "longhaul"),
    "fuzz": ("tests/fuzz", "tests/properties/test_message_fuzz.py", "-m", "not longhaul"),
    "elsewhere": (*sorted({file for each in SCENARIOS for file in each.elsewhere}), "-m", "not longhaul"),
}
"""Names of parts: a file of `tests/faults` each, and what else is counted."""
QUEUE = "thousands"


@dataclass(frozen=True)
class Tried:
    """One test that ran.

    Attributes:
        test: file and name, with its parameters.
        outcome: `passed`, `failed` or `skipped`; `counted` for what is no test.
        counted: what the test itself counted.
    """

    test: str
    outcome: str
    seconds: float
    counted: dict[str, str] = field(default_factory=dict)


def figures() -> Mapping[str, object]:
    """Run the parts that are asked for, and sum up all of them."""
    asked = os.environ.get("FAULTS_PARTS", ",".join((*PARTS, QUEUE))).split(",")
    KEPT.mkdir(parents=True, exist_ok=True)
    for name, arguments in PARTS.items():
        if name in asked:
            _keep(name, [asdict(each) for each in run(name, arguments)])
    if QUEUE in asked:
        _keep(QUEUE, dict(queue.figures()))
    tried = [Tried(**each) for name in PARTS for each in _kept(name) or []]
    return {**sums(tried), **(_kept(QUEUE) or {}), "scenarios": [result(each, tried) for each in SCENARIOS]}


def run(name: str, arguments: Sequence[str]) -> list[Tried]:
    """Run one part with pytest; what fails is counted, not raised."""
    report, canaries = KEPT / f"{name}.xml", KEPT / f"{name}.canaries"
    canaries.unlink(missing_ok=True)
    began = time.monotonic()
    subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1",
            f"--junitxml={report}", *arguments,
        ],
        cwd=PROJECT,
        env={**os.environ, CANARIES: str(canaries)},
        check=False,
    )  # fmt: skip
    tried = list(read(report))
    if canaries.exists():
        # One line for each ground that was looked through: how much of it, and what was found.
        looks = [json.loads(line) for line in canaries.read_text(encoding="utf-8").splitlines()]
        counted = {
            "canary_looks": str(len(looks)),
            "canary_places": str(sum(each["places"] for each in looks)),
            "canaries_found": str(sum(each["found"] for each in looks)),
        }
        tried.append(Tried(test=f"{name}: canaries", outcome="counted", seconds=0, counted=counted))
    print(f"faults: {name}: {len(tried)} tests in {time.monotonic() - began:.0f} s")
    return tried


def read(report: Path) -> Iterator[Tried]:
    """What a JUnit report of pytest tells."""
    # Written by our own pytest a moment ago.
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - our own report
        outcome = "passed"
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = "failed"
        elif case.find("skipped") is not None:
            outcome = "skipped"
        file = case.get("file") or case.get("classname", "").replace(".", "/") + ".py"
        yield Tried(
            test=f"{file}::{case.get('name')}",
            outcome=outcome,
            seconds=round(float(case.get("time", "0")), 2),
            counted={each.get("name", ""): each.get("value", "") for each in case.iter("property")},
        )


def sums(tried: Sequence[Tried]) -> dict[str, object]:
    """The figures over all parts."""
    counted = [each for each in tried if each.outcome == "counted"]
    ran = [each for each in tried if each.outcome in {"passed", "failed"}]
    kills = [each for each in ran if "test_fault_kills.py::" in each.test and "[" in each.test]
    fuzz = [each for each in ran if "fuzz" in each.test]
    return {
        "tests": len(ran),
        "tests_failed": sum(each.outcome == "failed" for each in ran),
        "tests_skipped": len(tried) - len(ran) - len(counted),
        "minutes": round(sum(each.seconds for each in ran) / 60, 1),
        "kill_cases": len(kills),
        "kill_failures": sum(each.outcome == "failed" for each in kills),
        **{name: _total(ran, name) for name in ("set_test_minutes", "lost", "mixed", "unmasked")},
        **{name: _total(ran, name) for name in ("set_faults", "set_writes", "set_tries")},
        **{name: _largest(ran, name) for name in ("poll_ms_p50", "poll_ms_p99")},
        **{name: _total(ran, name) for name in ("demo_secrets", "demo_places", "demo_mib")},
        "set_test": {
            name.removeprefix("set: "): int(value)
            for each in ran
            for name, value in each.counted.items()
            if name.startswith("set: ")
        },
        "fuzz_inputs": _total(fuzz, "fuzz_inputs"),
        "fuzz_crashes": sum(each.outcome == "failed" for each in fuzz),
        **{name: _total(counted, name) for name in ("canaries_found", "canary_looks", "canary_places")},
    }


def result(scenario: Scenario, tried: Sequence[Tried]) -> dict[str, object]:
    """One line of the table."""
    tests = {}
    for wanted in scenario.tests:
        found = [each for each in tried if each.test == wanted or each.test.startswith(f"{wanted}[")]
        ran = [each for each in found if each.outcome != "skipped"]
        passed = sum(each.outcome == "passed" for each in ran)
        tests[wanted] = f"{passed} of {len(ran)} passed" if ran else "did not run"
    without = [
        value
        for each in tried
        if each.outcome == "passed"
        for name, value in each.counted.items()
        if name == f"without {scenario.number}"
    ]
    return {
        "number": scenario.number,
        "danger": scenario.danger,
        "tests": tests,
        "without_the_defence": "; ".join(dict.fromkeys(without)) or "did not run",
        "removal_tested": bool(without),
    }


def _total(tried: Sequence[Tried], name: str) -> float | None:
    """The sum of what tests counted under `name`; None when none of them ran."""
    found = [float(each.counted[name]) for each in tried if name in each.counted]
    if not found:
        return None
    total = round(sum(found), 2)
    return int(total) if total == int(total) else total


def _largest(tried: Sequence[Tried], name: str) -> float | None:
    """The largest of what tests counted under `name`; None when none of them ran."""
    return max((float(each.counted[name]) for each in tried if name in each.counted), default=None)


def _keep(name: str, value: object) -> None:
    (KEPT / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")


def _kept(name: str) -> Any:  # noqa: ANN401 - as it was kept
    path = KEPT / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
