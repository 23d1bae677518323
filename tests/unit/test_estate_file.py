"""The estate's file: what is right becomes the nouns, and what is no plain YAML is refused unread."""

from __future__ import annotations

import json
import time
from datetime import time as time_of_day
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.estate_file import check_estate, load_estate
from policy.errors import Refused
from policy.estate import Role
from policy.names import ApplicationName, CustomerName, SiteId, Version
from policy.names import Environment as SiteEnvironment
from portal.cli.estate_commands import estate_app
from tests.unit.small_estate import SMALL, write_estate


def test_a_right_file_becomes_the_nouns(tmp_path: Path) -> None:
    estate = load_estate(write_estate(tmp_path, SMALL))
    lakeside = CustomerName("lakeside")
    assert estate.undo == timedelta(days=7)
    window = estate.windows(lakeside)[0]
    assert (window.name, window.start, window.length) == ("sundays", time_of_day(4), timedelta(hours=5))
    sandbox = SiteId(lakeside, SiteEnvironment.SANDBOX)
    assert estate.webapp(sandbox).key == "lakeside/live"
    assert [str(site.id) for site in estate.served_by(estate.webapp(sandbox))] == [
        "lakeside/production",
        "lakeside/sandbox",
    ]
    assert estate.target(sandbox).site.database == "lakeside_b"
    assert estate.source(lakeside).server.name == "live"
    # Text stays the text that was written: 26.10 is not 26.1, "007" is not 7, and 4 is a number for Ansible.
    assert estate.release(ApplicationName("kinto"), Version("26.10")).line == "26"
    assert estate.webapp(sandbox).variables == {"root": "/srv/a", "workers": 4, "debug": False, "tag": "007"}
    assert {contact.role for contact in estate.contacts.values()} == {Role.CONTACT, Role.ENGINEER}
    assert estate.freezes[0].groups == {"coastal"}


def test_what_copies_may_take_is_declared_or_modest(tmp_path: Path) -> None:
    estate = load_estate(write_estate(tmp_path, SMALL))
    live = estate.source(CustomerName("lakeside")).server
    assert (live.busy_share, live.most_mb_per_s, live.disk_gb) == (25, None, None)
    assert (estate.golden_every, estate.golden_oldest) == (timedelta(0), timedelta(days=7))
    told = SMALL.replace("production: true", "production: true\n    busy_share: 10\n    most_mb_per_s: 80", 1)
    told = told.replace("estate: test", "estate: test\ngolden_every_hours: 24\ngolden_oldest_hours: 48", 1)
    estate = load_estate(write_estate(tmp_path, told))
    live = estate.source(CustomerName("lakeside")).server
    assert (live.busy_share, live.most_mb_per_s) == (10, 80)
    assert (estate.golden_every, estate.golden_oldest) == (timedelta(days=1), timedelta(days=2))


def test_keys_that_stand_twice_are_told_with_both_lines(tmp_path: Path) -> None:
    text = SMALL.replace("  kinto:\n", "  kinto:\n  kinto:\n").replace(
        "title: Lakeside Schools", "title: A\n    title: B"
    )
    _, findings = check_estate(write_estate(tmp_path, text))
    assert [(finding.path, finding.problem) for finding in findings] == [
        ("applications.kinto", "this key stands here twice"),
        ("customers.lakeside.title", "this key stands here twice"),
    ]
    lines = text.splitlines()
    assert [lines[finding.line - 1].strip() for finding in findings] == ["kinto:", "title: B"]


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("a: &x [1]\nb: *x\n", "aliases are not accepted", 2),
        ("a: !!python/object/apply:os.system ['true']\n", "tags", 1),
        ("a: 1\n---\nb: 2\n", "second document", 2),
        ("a: [1\nb: 2\n", "did not find expected", 2),
        ("a:\n\t- 1\n", "cannot start any token", 2),
        ("? [a]\n: 1\n", "a key must be a single word", 1),
        ("a: " + "[" * 30 + "]" * 30, "nested more than 20 deep", 1),
        ("a: \x01\n", "characters that YAML does not allow", 1),
    ],
)
def test_what_is_not_plain_yaml_is_refused(tmp_path: Path, text: str, problem: str, line: int) -> None:
    estate, findings = check_estate(write_estate(tmp_path, text))
    assert estate is None
    assert problem in findings[0].problem
    assert findings[0].line == line


def test_bombs_cost_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    path = tmp_path / "estate.yaml"
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    for content in (
        b"a0: &a0 [x]\n" + levels.encode(),
        b"[" * 1_000_000,
        b"a: " + b"x" * (9 * 1024 * 1024),
        b"\xff\xfe" * 100,
        b"",
    ):
        path.write_bytes(content)
        estate, findings = check_estate(path)
        assert estate is None
        assert findings
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "text", ["- 1\n", "5\n", "null\n", "customers: []\n", "releases: {}\n", "releases: [1, [], {}]\n"]
)
def test_any_other_shape_is_told_and_never_raises(tmp_path: Path, text: str) -> None:
    estate, findings = check_estate(write_estate(tmp_path, text))
    assert estate is None
    assert findings


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"No such file.*freshet up"):
        load_estate(tmp_path / "absent.yaml")


def test_a_changed_lock_is_found(tmp_path: Path) -> None:
    path = write_estate(tmp_path, SMALL)
    (path.parent / "lock.txt").write_text("kinto==26.11\n")
    _, findings = check_estate(path)
    assert [finding.path for finding in findings] == ["releases[0].sha256"]
    assert "publish it under this digest" in findings[0].remedy


def test_five_thousand_customers_load_in_seconds(tmp_path: Path) -> None:
    head, rest = SMALL.split("customers:\n", 1)
    customer, contacts = rest.split("contacts:\n")
    many = "".join(
        customer.replace("lakeside", f"c{n}")
        .replace("https://", f"https://c{n}")
        .replace("st.", f"st{n}.")
        .replace("port: 8001", f"port: {3 * n + 10001}")
        .replace("port: 8002", f"port: {3 * n + 10002}")
        .replace("port: 8003", f"port: {3 * n + 10003}")
        for n in range(5000)
    )
    contacts = contacts.replace("[lakeside]", "[c1]")
    began = time.monotonic()
    estate = load_estate(write_estate(tmp_path, f"{head}customers:\n{many}contacts:\n{contacts}"))
    assert len(estate.customers) == 5000
    assert time.monotonic() - began < 20


def test_check_tells_people_and_machines(tmp_path: Path) -> None:
    good, runner = write_estate(tmp_path, SMALL), CliRunner()
    answer = runner.invoke(estate_app, ["check", str(good)])
    assert (answer.exit_code, "1 customers, 3 sites" in answer.stdout) == (0, True)
    bad = write_estate(tmp_path, SMALL.replace("server: trial", "server: trail"))
    answer = runner.invoke(estate_app, ["check", str(bad), "--json"])
    told = json.loads(answer.stdout)
    assert answer.exit_code == 2
    assert told["valid"] is False
    assert {"file", "line", "path", "problem", "remedy"} == set(told["findings"][0])
    answer = runner.invoke(estate_app, ["check", str(bad)])
    assert answer.exit_code == 2
    assert "customers.lakeside.sites.sandbox.server" in answer.stderr
    assert "2 mistakes; nothing was changed" in answer.stderr
