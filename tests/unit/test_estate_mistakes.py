"""Mistakes in the estate's file: each is told with its place, its line and its remedy, and all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.estate_file import check_estate, load_estate
from policy.errors import Refused
from tests.unit.small_estate import SMALL, write_estate

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
    tmp_path: Path, old: str, new: str, place: str, problem: str, remedy: str
) -> None:
    assert SMALL.count(old) >= 1
    path = write_estate(tmp_path, SMALL.replace(old, new, 1))
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


def test_all_mistakes_at_once_and_none_twice(tmp_path: Path) -> None:
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
        load_estate(write_estate(tmp_path, text))
    assert len(refused.value.findings) == 6, refused.value.findings
    assert all(finding.count(";") >= 1 for finding in refused.value.findings)


def test_a_broken_part_does_not_make_others_wrong(tmp_path: Path) -> None:
    """A server that is declared with a mistake is not reported again as missing by the sites on it."""
    _, findings = check_estate(
        write_estate(
            tmp_path, SMALL.replace("port: 5432\n    production: false", "port: x\n    production: false")
        )
    )
    assert [finding.path for finding in findings] == ["database_servers.trial.port"]


def test_a_finding_never_repeats_much_of_the_file(tmp_path: Path) -> None:
    long = "A" * 400
    _, findings = check_estate(
        write_estate(tmp_path, SMALL.replace("server: trial", f"server: {long}", 1).replace("UTC", long, 1))
    )
    assert len(findings) == 2
    assert all(len(str(finding)) < 400 for finding in findings)
