"""The table of faults names tests that exist, and every one of its numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks._scenarios import SCENARIOS, Scenario
from benchmarks.faults import Tried, read, result, sums

ROOT = Path(__file__).parents[2]
FAULTS = "tests.faults.test_fault_"


def test_every_number_is_there_once() -> None:
    assert [each.number for each in SCENARIOS] == list(range(1, 28))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: str(each.number))
def test_what_is_named_exists(scenario: Scenario) -> None:
    assert scenario.tests
    for test in scenario.tests:
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", text, flags=re.MULTILINE), test


def test_the_defence_of_each_is_taken_out_by_a_test() -> None:
    told = {
        int(number)
        for file in (ROOT / "tests" / "faults").glob("test_fault_*.py")
        for number in re.findall(
            r"^    damage\((\d+), ", file.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
    }
    assert told == {each.number for each in SCENARIOS}


def test_what_did_not_run_has_no_result() -> None:
    (line,) = [result(each, []) for each in SCENARIOS if each.number == 2]
    tests = line["tests"]
    assert isinstance(tests, dict)
    assert set(tests.values()) == {"did not run"}
    assert (line["without_the_defence"], line["removal_tested"]) == ("did not run", False)
    assert sums([])["lost"] is None


def test_figures_are_counted_from_a_report(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(
        f"""<testsuites><testsuite>
        <testcase classname="{FAULTS}kills" name="test_a[refresh.x]" time="1.5"/>
        <testcase classname="{FAULTS}kills" name="test_a[refresh.y]" time="1.5"><failure/></testcase>
        <testcase classname="{FAULTS}disk" name="test_b" time="0"><skipped/></testcase>
        <testcase classname="{FAULTS}set" name="test_c" time="60"><properties>
        <property name="lost" value="2"/><property name="without 3" value="words"/></properties></testcase>
        <testcase classname="{FAULTS}set" name="test_d" time="0"><properties>
        <property name="without 3" value="others"/></properties></testcase>
        <testcase classname="{FAULTS}set" name="test_e" time="0"><properties>
        <property name="without 3" value="words"/></properties></testcase>
        </testsuite></testsuites>"""
    )
    tried = list(read(tmp_path / "report.xml"))
    assert tried[0] == Tried(
        test="tests/faults/test_fault_kills.py::test_a[refresh.x]", outcome="passed", seconds=1.5
    )
    figures = sums(tried)
    assert (figures["kill_cases"], figures["kill_failures"]) == (2, 1)
    assert (figures["tests"], figures["tests_failed"], figures["tests_skipped"]) == (5, 1, 1)
    assert figures["lost"] == 2
    third = result(SCENARIOS[2], tried)
    assert (third["without_the_defence"], third["removal_tested"]) == ("words; others", True)
