"""The estate's file: what is right is read, and everything that is wrong is told at once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from datetime import time as time_of_day
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from typer.testing import CliRunner

from infra.estate_file import check_estate, load_estate
from infra.stack.layout import PROJECT
from infra.stack.ports import Ports
from policy.errors import Refused
from policy.estate import Role
from policy.names import ApplicationName, CustomerName, SiteId, Version
from policy.names import Environment as SiteEnvironment
from portal.cli.estate_commands import estate_app

SMALL = """\
estate: test
windows:
  sundays: {zone: America/Chicago, days: [sun], start: "04:00", length: 5h, valid_from: 2026-01-01}
freezes:
  year-end:
    {zone: UTC, first: 2026-12-20, last: 2027-01-03, reason: holidays, yearly: true, groups: [coastal]}
database_servers:
  live:
    host: db1.example.org
    port: 5432
    production: true
    system_identifier: "7312345678901234567"
    owner: {user: live_owner, secret: live-owner}
    reader: {user: live_reader, secret: live-reader}
  trial:
    host: db2.example.org
    port: 5432
    production: false
    owner: {user: trial_owner, secret: trial-owner}
hosts:
  web1: {connection: ssh, address: web1.example.org, port: 22, user: deploy, key: ssh-deploy}
applications:
  kinto:
releases:
  - {application: kinto, version: 26.10, line: 26, lock: lock.txt, sha256: DIGEST, published: 2026-11-02}
groups:
  coastal: {title: Coastal, kind: consortium, windows: [sundays]}
customers:
  lakeside:
    title: Lakeside Schools
    zone: America/Chicago
    group: coastal
    webapps:
      live:
        {application: kinto, hosts: [web1], variables: {root: /srv/a, workers: 4, debug: false, tag: "007"}}
      staging: {application: kinto, hosts: [web1]}
    sites:
      production: {webapp: live, server: live, database: lakeside_a, url: "https://a.example.org", port: 8001}
      sandbox: {webapp: live, server: trial, database: lakeside_b, url: "https://b.example.org", port: 8002}
      staging: {webapp: staging, server: trial, database: lakeside_c, url: "https://c.test.org", port: 8003}
contacts:
  dana@lakeside.example.org: {name: Dana, zone: America/Chicago, customers: [lakeside]}
  ops@hosting.example.org: {name: Ops, zone: UTC, role: engineer}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an estate's file beside its lock."""
    lock = tmp_path / "lock.txt"
    lock.write_text("kinto==26.10\n")
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()

    def to_file(text: str) -> Path:
        path = tmp_path / "estate.yaml"
        path.write_text(text.replace("DIGEST", digest))
        return path

    return to_file


def test_a_right_file_becomes_the_nouns(write: Write) -> None:
    estate = load_estate(write(SMALL))
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


def test_what_copies_may_take_is_declared_or_modest(write: Write) -> None:
    estate = load_estate(write(SMALL))
    live = estate.source(CustomerName("lakeside")).server
    assert (live.busy_share, live.most_mb_per_s, live.disk_gb) == (25, None, None)
    assert (estate.golden_every, estate.golden_oldest) == (timedelta(0), timedelta(days=7))
    told = SMALL.replace("production: true", "production: true\n    busy_share: 10\n    most_mb_per_s: 80", 1)
    told = told.replace("estate: test", "estate: test\ngolden_every_hours: 24\ngolden_oldest_hours: 48", 1)
    estate = load_estate(write(told))
    live = estate.source(CustomerName("lakeside")).server
    assert (live.busy_share, live.most_mb_per_s) == (10, 80)
    assert (estate.golden_every, estate.golden_oldest) == (timedelta(days=1), timedelta(days=2))


MISTAKES = [
    # (what is replaced, by what, the place, the problem, the remedy)
    (
        "estate: test",
        "estate: test\nunddo_days: 3",
        "unddo_days",
        "key is not known",
        "did you mean 'undo_days'?",
    ),
    ("estate: test\n", "", "estate", "is missing", "add 'estate: …'"),
    (
        "estate: test",
        "estate: test\ngolden_every_hours: 48\ngolden_oldest_hours: 24",
        "golden_oldest_hours",
        "images would be too old before the next is built",
        "longer than golden_every_hours",
    ),
    ("estate: test", "estate: test\ngolden_every_hours: often", "golden_every_hours", "'often'", "from 0 to"),
    ("estate: test", "estate: test\nundo_days: many", "undo_days", "'many' does not fit", "from 0 to 90"),
    (
        "zone: UTC, first",
        "zone: Mars/Base, first",
        "freezes.year-end.zone",
        "no time zone 'Mars/Base'",
        "IANA",
    ),
    ("last: 2027-01-03", "last: 2026-01-03", "freezes.year-end.last", "ends before it begins", "swap"),
    (
        "groups: [coastal]}",
        "groups: [costal]}",
        "freezes.year-end.groups[0]",
        "no group 'costal'",
        "'coastal'?",
    ),
    ("length: 5h", "length: 0h", "windows.sundays.length", "'0h' is no length", "5h, 45m or 3h30m"),
    ("days: [sun]", "days: []", "windows.sundays.days", "never opens", "at least one day"),
    ("days: [sun]", "days: [Sunday]", "windows.sundays.days[0]", "'Sunday' is not known", "mon, tue"),
    (
        "valid_from: 2026-01-01}",
        "valid_from: 2026-11-16, valid_until: 2026-11-18}",
        "windows.sundays.valid_until",
        "never opens: none of its days",
        "correct the dates",
    ),
    ("first: 2026-12-20", "first: 2026-02-30", "freezes.year-end.first", "not in the calendar", "correct"),
    ('start: "04:00"', 'start: "24:00"', "windows.sundays.start", "'24:00' is no time of day", "04:00"),
    (
        "port: 5432\n    production: true",
        "port: 0\n    production: true",
        "database_servers.live.port",
        "'0'",
        "65535",
    ),
    (
        "    reader: {user: live_reader, secret: live-reader}\n",
        "",
        "database_servers.live",
        "no reader",
        "add 'reader'",
    ),
    (
        "user: live_reader",
        "user: live_owner",
        "database_servers.live.reader.user",
        "is the owner",
        "of its own",
    ),
    (
        "secret: live-reader",
        "sekret: x",
        "database_servers.live.reader.sekret",
        "not known",
        "did you mean 'secret'?",
    ),
    ("db2.example.org", "db1.example.org", "database_servers.trial.port", "'live' is at the same", "once"),
    ("address: web1.example.org, ", "", "hosts.web1", "without an address", "add 'address'"),
    ("version: 26.10", "version: v26", "releases[0].version", "'v26' is not valid", "numbers joined by dots"),
    ("line: 26", "line: 24", "releases[0].line", "26.10 does not belong to line 24", "first numbers"),
    ("lock: lock.txt", "lock: lost.txt", "releases[0].lock", "cannot be read", "correct the path"),
    (
        "application: kinto, version",
        "application: kint, version",
        "releases[0].application",
        "'kint'",
        "'kinto'?",
    ),
    (
        "windows: [sundays]}",
        "windows: [sonntags]}",
        "groups.coastal.windows[0]",
        "no window 'sonntags'",
        "sundays",
    ),
    ("windows: [sundays]}", "windows: []}", "customers.lakeside", "no maintenance window", "add 'windows'"),
    (
        "group: coastal",
        "group: inland",
        "customers.lakeside.group",
        "no group 'inland'",
        "known here: coastal",
    ),
    (
        "hosts: [web1], var",
        "hosts: [web2], var",
        "customers.lakeside.webapps.live.hosts[0]",
        "'web2'",
        "'web1'?",
    ),
    ("hosts: [web1], var", "hosts: [], var", "customers.lakeside.webapps.live.hosts", "nowhere", "one host"),
    ("debug: false", "release: x", "customers.lakeside.webapps.live.variables.release", "itself", "remove"),
    (
        "sandbox: {webapp: live",
        "sandbox: {webapp: staging",
        "customers.lakeside.sites.sandbox.webapp",
        "shares Production's web application",
        "webapp: live",
    ),
    (
        "staging: {webapp: staging",
        "staging: {webapp: live",
        "customers.lakeside.sites.staging.webapp",
        "of its own",
        "another web application",
    ),
    (
        "staging: {webapp: staging",
        "testing: {webapp: staging",
        "customers.lakeside.sites.testing",
        "'testing'",
        "preview",
    ),
    (
        "production: {webapp: live, server: live",
        "production: {webapp: live, server: trial",
        "customers.lakeside.sites.production.server",
        "does not hold Production",
        "production: true",
    ),
    (
        "sandbox: {webapp: live, server: trial",
        "sandbox: {webapp: live, server: live",
        "customers.lakeside.sites.sandbox.server",
        "never written to",
        "production: false",
    ),
    (
        "server: trial, database: lakeside_b",
        "server: trail, database: x_y",
        "customers.lakeside.sites.sandbox.server",
        "'trail'",
        "'trial'?",
    ),
    (
        "database: lakeside_c",
        "database: lakeside_b",
        "customers.lakeside.sites.staging.database",
        "lakeside/sandbox has the same",
        "of its own",
    ),
    (
        "database: lakeside_c",
        "database: postgres",
        "customers.lakeside.sites.staging.database",
        "belongs to PostgreSQL",
        "another",
    ),
    (
        "database: lakeside_c",
        "database: a__b",
        "customers.lakeside.sites.staging.database",
        "'a__b' is not valid",
        "single underscores",
    ),
    (
        "port: 8003",
        "port: 8001",
        "customers.lakeside.sites.staging.port",
        "lakeside/production has the same port",
        "of its own",
    ),
    (
        "https://c.test.org",
        "https://B.example.org",
        "customers.lakeside.sites.staging.url",
        "the same address",
        "own",
    ),
    (
        "https://c.test.org",
        "https://c.test.org/app",
        "customers.lakeside.sites.staging.url",
        "no address",
        "https://",
    ),
    (
        "customers: [lakeside]}",
        "customers: [lake]}",
        "contacts['dana@lakeside.example.org'].customers[0]",
        "'lake'",
        "'lakeside'?",
    ),
    (", customers: [lakeside]}", "}", "contacts['dana@lakeside.example.org']", "may see nothing", "give it"),
    ("ops@hosting.example.org", "ops", "contacts.ops", "'ops' is not valid", "name@example.org"),
    (
        "role: engineer",
        "role: boss",
        "contacts['ops@hosting.example.org'].role",
        "'boss' is not known",
        "contact, engineer",
    ),
    ("  kinto:\n", "  kinto: {path: x}\n", "applications.kinto.path", "not known", "declare a key"),
    ("customers:\n", "customers: 5\nothers:\n", "customers", "no mapping", "key: value"),
]


@pytest.mark.parametrize(("old", "new", "place", "problem", "remedy"), MISTAKES, ids=[m[2] for m in MISTAKES])
def test_a_mistake_is_told_with_place_line_and_remedy(
    write: Write, old: str, new: str, place: str, problem: str, remedy: str
) -> None:
    assert SMALL.count(old) >= 1
    path = write(SMALL.replace(old, new, 1))
    estate, findings = check_estate(path)
    assert estate is None
    matching = [finding for finding in findings if finding.path == place]
    assert matching, [str(finding) for finding in findings]
    told = matching[0]
    assert problem in told.problem
    assert remedy in told.remedy
    assert told.file == str(path)
    last = place.rpartition(".")[2].partition("[")[0]
    lines = path.read_text().splitlines()
    # The line holds the key itself, or, where the key is missing, the part that should hold it.
    assert (
        last.strip("']") in lines[told.line - 1] or told.line == 1 or problem in {"is missing", "no reader"}
    )


def test_all_mistakes_at_once_and_none_twice(write: Write) -> None:
    text = SMALL
    for old, new in (
        ("estate: test", "estate: test\ncolour: blue"),
        ("zone: UTC, first", "zone: Nowhere, first"),
        ("sandbox: {webapp: live", "sandbox: {webapp: staging"),
        ("port: 8003", "port: 8001"),
        ("role: engineer", "role: boss"),
        ("server: live, database", "server: lvie, database"),
    ):
        text = text.replace(old, new, 1)
    with pytest.raises(Refused) as refused:
        load_estate(write(text))
    assert len(refused.value.findings) == 6, refused.value.findings
    assert all(finding.count(";") >= 1 for finding in refused.value.findings)


def test_a_broken_part_does_not_make_others_wrong(write: Write) -> None:
    """A server that is declared with a mistake is not reported again as missing by the sites on it."""
    _, findings = check_estate(
        write(SMALL.replace("port: 5432\n    production: false", "port: x\n    production: false"))
    )
    assert [finding.path for finding in findings] == ["database_servers.trial.port"]


def test_keys_that_stand_twice_are_told_with_both_lines(write: Write) -> None:
    text = SMALL.replace("  kinto:\n", "  kinto:\n  kinto:\n").replace(
        "title: Lakeside Schools", "title: A\n    title: B"
    )
    _, findings = check_estate(write(text))
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
def test_what_is_not_plain_yaml_is_refused(write: Write, text: str, problem: str, line: int) -> None:
    estate, findings = check_estate(write(text))
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
def test_any_other_shape_is_told_and_never_raises(write: Write, text: str) -> None:
    estate, findings = check_estate(write(text))
    assert estate is None
    assert findings


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"No such file.*freshet up"):
        load_estate(tmp_path / "absent.yaml")


def test_a_changed_lock_is_found(write: Write) -> None:
    path = write(SMALL)
    (path.parent / "lock.txt").write_text("kinto==26.11\n")
    _, findings = check_estate(path)
    assert [finding.path for finding in findings] == ["releases[0].sha256"]
    assert "publish it under this digest" in findings[0].remedy


def test_a_finding_never_repeats_much_of_the_file(write: Write) -> None:
    long = "A" * 400
    _, findings = check_estate(
        write(SMALL.replace("server: trial", f"server: {long}", 1).replace("UTC", long, 1))
    )
    assert len(findings) == 2
    assert all(len(str(finding)) < 400 for finding in findings)


def test_five_thousand_customers_load_in_seconds(write: Write) -> None:
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
    estate = load_estate(write(f"{head}customers:\n{many}contacts:\n{contacts}"))
    assert len(estate.customers) == 5000
    assert time.monotonic() - began < 20


def test_the_demo_estate_and_its_digests_are_right(tmp_path: Path) -> None:
    template = Environment(
        loader=FileSystemLoader(PROJECT / "demo"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML, and every value is a number or a path
    ).get_template("estate.yaml.j2")
    text = template.render(
        ports=Ports.of(15430, {}),
        identities={"live": "7312345678901234567", "trial": "7312345678901234568"},
        releases=str(PROJECT / "releases"),
        state="/srv/freshet",
        supervisor_config="/srv/freshet/supervisor/supervisord.conf",
    )
    path = tmp_path / "estate.yaml"
    path.write_text(text)
    estate = load_estate(path)
    assert set(estate.customers) == {"lakeside", "harbor"}
    assert estate.customers[CustomerName("harbor")].group == "coastal"
    for release in estate.releases:
        lock = PROJECT / "releases" / "kinto" / f"{release.version}.txt"
        assert release.sha256 == hashlib.sha256(lock.read_bytes()).hexdigest()


def test_the_example_in_the_guide_is_right(tmp_path: Path) -> None:
    guide = (PROJECT / "docs" / "guide" / "estate.md").read_text(encoding="utf-8")
    example = guide.split("```yaml\n", 1)[1].split("```", 1)[0]
    path = tmp_path / "estate.yaml"
    path.write_text(example)
    (tmp_path / "kinto-26.5.0.txt").write_bytes((PROJECT / "releases" / "kinto" / "26.5.0.txt").read_bytes())
    assert load_estate(path).name == "north-hosting"


def test_check_tells_people_and_machines(write: Write) -> None:
    good, runner = write(SMALL), CliRunner()
    answer = runner.invoke(_app(), ["check", str(good)])
    assert (answer.exit_code, "1 customers, 3 sites" in answer.stdout) == (0, True)
    bad = write(SMALL.replace("server: trial", "server: trail"))
    answer = runner.invoke(_app(), ["check", str(bad), "--json"])
    told = json.loads(answer.stdout)
    assert answer.exit_code == 2
    assert told["valid"] is False
    assert {"file", "line", "path", "problem", "remedy"} == set(told["findings"][0])
    answer = runner.invoke(_app(), ["check", str(bad)])
    assert answer.exit_code == 2
    assert "customers.lakeside.sites.sandbox.server" in answer.stderr
    assert "2 mistakes; nothing was changed" in answer.stderr


def _app() -> typer.Typer:
    return estate_app
