"""checks.yml: what is understood, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.checks_file import load_checks
from policy.errors import Refused
from policy.names import ApplicationName

GOOD = """
application: trial
administrator: admin
expectations: [schema]
checks:
  - name: version
    title: Version
    http: [{request: GET /, expect: {json: {/v: "{expect.version}"}}}]
"""


def load(folder: Path, text: str) -> object:
    role = folder / "roles" / "app_trial"
    role.mkdir(parents=True)
    (role / "checks.yml").write_text(text)
    return load_checks(ApplicationName("trial"), folder)


def test_a_good_file(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("application: trial", "application: other", "is 'other', should be 'trial'"),
        ("administrator: admin", "administrator: ''", "administrator"),
        ("request: GET /", "request: FETCH /", "checks.0.http.0.request"),
        ("request: GET /", "request: GET http://elsewhere/", "checks.0.http.0.request"),
        ("{expect.version}", "{expect.colour}", "nothing gives {expect.colour}"),
        ("{expect.version}", "{saved.thing}", "nothing gives {saved.thing}"),
        ("title: Version", "title: Version\n    sql: {query: SELECT 1, equals: '1'}", "exactly one of http"),
        ("title: Version", "title: Version\n    needs: [colour]", "needs colour"),
        ("title: Version", "titel: Version", "checks.0.titel"),
        ("expect: {json", "expect: {jason", "expect.jason"),
        ("application: trial", "application: [", "line"),
        ("checks:", "deadline_s: 0\nchecks:", "deadline_s"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_place(tmp_path: Path, old: str, new: str, part: str) -> None:
    assert old in GOOD
    with pytest.raises(Refused) as refused:
        load(tmp_path, GOOD.replace(old, new))
    assert part in str(refused.value)
    assert "checks.yml of trial" in str(refused.value)


def test_what_is_missing_too_large_or_said_twice(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has none"):
        load_checks(ApplicationName("trial"), tmp_path)
    with pytest.raises(Refused, match="larger than"):
        load(tmp_path / "large", "#" * 300_000)
    twice = GOOD + GOOD[GOOD.index("  - name") :]
    with pytest.raises(Refused, match="the same name"):
        load(tmp_path / "twice", twice)
