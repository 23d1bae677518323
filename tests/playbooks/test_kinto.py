"""Kinto, really installed, upgraded and put back through its role."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from psycopg import sql

from infra.ansible_processes import carrying
from infra.application_trial import Trial, trial
from infra.checks import healthy, load_checks, run_checks, take_baseline
from infra.stack.cluster import Cluster
from policy.errors import Cancelled, StepFailed
from policy.names import ApplicationName
from tests.playbooks.hosting import exchange
from tests.playbooks.outside import watched

OLD, NEW = "23.1.0", "26.5.0"
HELLO = "/v1/__lbheartbeat__"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def kinto(tmp_path_factory: pytest.TempPathFactory, live_cluster: Cluster) -> Iterator[Trial]:
    """Kinto 23.1.0 with a Production that holds a record and a Sandbox that is empty."""
    with trial(
        tmp_path_factory.mktemp("kinto"), live_cluster, key="lakeside/live", application="kinto"
    ) as site:
        site.go(OLD, "preflight", "install", run="r1a1")
        with signed_in(site, "production") as client:
            client.put("/v1/buckets/district").raise_for_status()
            client.put("/v1/buckets/district/collections/students").raise_for_status()
            record = {"data": {"name": "Ada Example"}}
            client.put("/v1/buckets/district/collections/students/records/s1", json=record).raise_for_status()
        yield site


def signed_in(site: Trial, environment: str) -> httpx.Client:
    return httpx.Client(
        base_url=site.url(environment), auth=("admin", site.secret("administrator")), trust_env=False
    )


def schema_of(site: Trial, environment: str) -> int:
    with site.connect(environment) as connection:
        row = connection.execute(
            "SELECT max(value::int) FROM metadata WHERE name = 'storage_schema_version'"
        ).fetchone()
    assert row
    return int(row[0])


def digest_of(site: Trial, environment: str) -> str:
    """Of every row of every table, but for the cache and the times that Kinto notes when it is only read."""
    told = []
    with site.connect(environment) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND relname NOT IN ('cache', 'timestamps') ORDER BY relname"
        ).fetchall()
        for (table,) in tables:
            query = sql.SQL("SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {} t")
            row = connection.execute(query.format(sql.Identifier(table))).fetchone()
            told.append((table, row))
    return repr(told)


def tree_of(folder: Path) -> dict[str, str]:
    """Every file below `folder` that an application does not write by itself, and its digest."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            if path.suffix == ".log" or path.name.endswith(".told.json") or "__pycache__" in path.parts:
                continue
            content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def upgrade(site: Trial, release: str, run: str) -> None:
    site.go(release, "maintenance_on", "stop", run=run)
    site.snapshot()
    site.go(release, "switch", "migrate", "start", run=run)


def put_back(site: Trial, release: str, run: str) -> None:
    site.go(release, "stop", "put_back", run=run)
    site.restore()
    site.go(release, "start", run=run)


CHECKS = load_checks(ApplicationName("kinto"))


def test_a_second_install_changes_nothing(kinto: Trial) -> None:
    before = tree_of(kinto.root)
    again = kinto.go(OLD, "preflight", "install", run="r2a1")
    assert again.changed == 0
    assert tree_of(kinto.root) == before
    assert again.fact("active_release") == kinto.root.joinpath("current").readlink().name
    assert again.fact("schema_version") == "23"


def test_check_mode_tells_what_would_change_and_changes_nothing(kinto: Trial) -> None:
    before, rows = tree_of(kinto.root), digest_of(kinto, "production")
    stages = ("preflight", "stage_release", "maintenance_on", "stop", "switch", "maintenance_off")
    told = kinto.go(NEW, *stages, run="r3a1", check=True)
    assert told.changed >= 4
    assert tree_of(kinto.root) == before
    assert digest_of(kinto, "production") == rows
    assert httpx.get(kinto.url("production") + HELLO, trust_env=False).status_code == 200


def test_upgrade_stage_by_stage_and_back(kinto: Trial) -> None:
    run = "r4a1"
    rows = {environment: digest_of(kinto, environment) for environment in kinto.databases}
    staged = kinto.go(NEW, "preflight", "stage_release", run=run)
    assert staged.fact("schema_version") == "26"
    baselines = {name: take_baseline(CHECKS, kinto.subject(name)) for name in kinto.databases}
    assert baselines["production"].values["schema_version"] == "23"

    with watched(kinto.ports["production"], HELLO) as seen:
        kinto.go(NEW, "maintenance_on", "stop", run=run)
        page = httpx.get(kinto.url("production") + "/v1/", trust_env=False)
        kinto.snapshot()
        done = kinto.go(NEW, "switch", "migrate", "start", run=run)
        behind_the_page = httpx.get(kinto.url("production") + "/v1/", trust_env=False)
        for name in kinto.databases:
            expect = {"version": NEW, "schema_version": "26"}
            results = run_checks(CHECKS, kinto.subject(name), expect=expect, baseline=baselines[name])
            assert healthy(results), results
            assert {result.name for result in results} == {check.name for check in CHECKS.checks}
        kinto.go(NEW, "maintenance_off", run=run)

    assert page.status_code == 503
    assert int(page.headers["Retry-After"]) > 0
    assert "expected back by Sunday 22 November 2099, 04:30 CST" in page.text
    assert "{{ 40 + 2 }} &lt;now&gt;" in page.text, (
        "a customer's text is neither evaluated nor taken for HTML"
    )
    assert behind_the_page.status_code == 503, "nobody gets in before the verdict"
    assert done.changed == 3
    assert {schema_of(kinto, name) for name in kinto.databases} == {26}
    assert seen.refused() == 0, "the door never lets a connection be refused"
    assert seen.good() > 0

    # A second time there is nothing to do, and the role says so.
    again = kinto.go(NEW, "switch", "migrate", "start", "maintenance_off", run=run)
    assert again.changed == 0
    assert kinto.go(NEW, "migrate", "switch", "start", run=run, check=True).changed == 0

    # Another run must not switch back what this one switched.
    other = kinto.go(NEW, "put_back", run="r99a1")
    assert (other.changed, other.fact("active_release")) == (0, staged_name(kinto, NEW))

    put_back(kinto, NEW, run)
    expect = {"version": OLD, "schema_version": "23"}
    results = run_checks(CHECKS, kinto.subject("production"), expect=expect, baseline=baselines["production"])
    assert healthy(results), results
    assert {environment: digest_of(kinto, environment) for environment in kinto.databases} == rows
    assert kinto.go(NEW, "put_back", run=run).changed == 0
    # What would have to be migrated is told without migrating.
    assert kinto.go(NEW, "migrate", run="r5a1", check=True).changed == 1
    assert schema_of(kinto, "production") == 23


def release_of(site: Trial, release: str) -> dict[str, object]:
    told = site.variables(release)["release"]
    assert isinstance(told, dict)
    return told


def staged_name(site: Trial, release: str) -> str:
    told = release_of(site, release)
    return f"{told['version']}-{str(told['sha256'])[:8]}"


@pytest.mark.slow
def test_a_release_whose_migration_dies(kinto: Trial) -> None:
    run = "r6a1"
    kinto.go("24.1.1-release-day", "preflight", "stage_release", run=run)
    with pytest.raises(StepFailed, match="pkg_resources"):
        upgrade(kinto, "24.1.1-release-day", run)
    put_back(kinto, "24.1.1-release-day", run)
    kinto.go("24.1.1-release-day", "maintenance_off", run=run)
    assert httpx.get(kinto.url("production") + "/v1/", trust_env=False).json()["project_version"] == OLD


@pytest.mark.parametrize(
    ("release", "schema", "culprit"),
    [
        pytest.param("24.1.1", "25", "signed_in", id="every log-in is refused"),
        pytest.param(
            "25.0.3", "26", "write_and_read_back", id="the owner is refused", marks=pytest.mark.slow
        ),
    ],
)
def test_a_release_that_looks_healthy_and_refuses_its_users(
    kinto: Trial, release: str, schema: str, culprit: str
) -> None:
    run = "r7a1"
    kinto.go(release, "preflight", "stage_release", run=run)
    baseline = take_baseline(CHECKS, kinto.subject("production"))
    rows = digest_of(kinto, "production")
    upgrade(kinto, release, run)
    expect = {"version": release, "schema_version": schema}
    results = run_checks(CHECKS, kinto.subject("production"), expect=expect, baseline=baseline)
    bad = {result.name for result in results if not result.good}
    assert culprit in bad
    assert "heartbeat" not in bad, "the application's own heartbeat does not notice"
    put_back(kinto, release, run)
    expect = {"version": OLD, "schema_version": "23"}
    results = run_checks(CHECKS, kinto.subject("production"), expect=expect, baseline=baseline)
    kinto.go(release, "maintenance_off", run=run)
    assert healthy(results), results
    assert digest_of(kinto, "production") == rows


def test_what_an_interrupted_check_left_is_removed_by_the_next(kinto: Trial) -> None:
    rows = digest_of(kinto, "sandbox")
    with signed_in(kinto, "sandbox") as client:
        for place in ("", "/collections/round", "/collections/round/records/r1"):
            client.put(f"/v1/buckets/freshet-health{place}", json={"data": {}}).raise_for_status()
    with kinto.connect("sandbox") as connection:
        # And a copy may bring what another administrator's check left in Production.
        connection.execute(
            "UPDATE access_control_entries SET principal = 'account:earlier'"
            " WHERE object_id LIKE '/buckets/freshet-health%'"
        )
    assert digest_of(kinto, "sandbox") != rows
    expect = {"version": OLD, "schema_version": "23"}
    results = run_checks(CHECKS, kinto.subject("sandbox"), expect=expect)
    assert healthy(results), results
    assert digest_of(kinto, "sandbox") == rows


def test_a_migration_that_hangs_is_cut_off_and_leaves_neither_process_nor_session(kinto: Trial) -> None:
    run = "r12a1"
    alone = {"app_kinto_migrate_together": False}
    kinto.go(NEW, "stage_release", run=run)
    with kinto.connect("production") as blocker:
        # Production's migration comes to this table and waits, as behind a forgotten session.
        blocker.execute("LOCK TABLE objects IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StepFailed, match="production: not done within 4 s, ended"):
            kinto.go(NEW, "migrate", run=run, more={**alone, "app_kinto_migrate_timeout_s": 4})
        with pytest.raises(Cancelled):
            kinto.go(NEW, "migrate", run=run, more=alone, cancelled=lambda: sessions_of(kinto, run) > 0)
        assert not carrying(lambda environment: environment.get("FRESHET_RUN") == f"{run}:1")
        give_up = time.monotonic() + 20
        while sessions_of(kinto, run):
            assert time.monotonic() < give_up, "the server ends the session of a migration that was killed"
            time.sleep(0.1)
    assert schema_of(kinto, "production") == 23
    assert schema_of(kinto, "sandbox") == 23


def sessions_of(site: Trial, run: str) -> int:
    """Database sessions of this run's migrations that wait for somebody."""
    with site.administer() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'",
            (f"freshet-{run}",),
        ).fetchone()
    assert row
    return int(row[0])


def test_one_site_can_be_held_while_the_other_serves(kinto: Trial) -> None:
    lease = {"maintenance": {"lease_s": 60}}
    with (
        watched(kinto.ports["production"], HELLO) as production,
        watched(kinto.ports["sandbox"], HELLO) as sandbox,
    ):
        kinto.go(OLD, "hold", run="r8a1", more={"only_sites": ["sandbox"], **lease})
        exchange(kinto, "sandbox")
        kinto.go(OLD, "maintenance_off", run="r8a1", more={"only_sites": ["sandbox"]})
    assert production.downtime_s() == 0.0
    assert sandbox.downtime_s() == 0.0, "a held request waits and is answered, by the other database"
    assert httpx.get(kinto.url("sandbox") + "/v1/__heartbeat__", trust_env=False).status_code == 200


def test_clean_up_keeps_what_is_needed(kinto: Trial) -> None:
    active = kinto.root.joinpath("current").readlink().name
    for number in range(3):
        (kinto.root / "releases" / f"1.{number}.0-00000000").mkdir()
    kept = kinto.go(NEW, "clean_up", run="r9a1")
    left = {path.name for path in (kinto.root / "releases").iterdir()}
    assert kept.changed == 1
    assert {active, staged_name(kinto, NEW)} <= left
    assert kinto.go(NEW, "clean_up", run="r9a1").changed == 0


def test_preflight_tells_every_finding(kinto: Trial) -> None:
    wrong = {"release": {**release_of(kinto, NEW), "sha256": "0" * 64}}
    with pytest.raises(StepFailed, match="does not have the published sha256"):
        kinto.go(NEW, "preflight", run="r10a1", more=wrong)
    with pytest.raises(StepFailed, match="program nonsense is not on this host"):
        kinto.go(NEW, "preflight", run="r10a1", more={"uv": "nonsense"})


def test_an_artefact_that_is_not_what_was_published_is_not_installed(kinto: Trial, tmp_path: Path) -> None:
    text = Path(str(release_of(kinto, NEW)["lock"])).read_text()
    first = text.index("sha256:") + len("sha256:")
    lock = tmp_path / "lock.txt"
    # One package's hashes are wrong, all of them.
    end = text.index("==", first)
    lock.write_text(re.sub("[0-9a-f]{64}", "0" * 64, text[:end]) + text[end:])
    told = {"version": "26.5.1", "lock": lock, "sha256": hashlib.sha256(lock.read_bytes()).hexdigest()}
    with pytest.raises(StepFailed, match="cannot be installed"):
        kinto.go(NEW, "stage_release", run="r11a1", more={"release": told})
    left = kinto.root / "releases" / f"26.5.1-{str(told['sha256'])[:8]}"
    assert not (left / "venv").exists()
    assert not (left / ".complete").exists()


def test_no_secret_is_written_anywhere_else(kinto: Trial) -> None:
    """After all of the above; only the secrets' own files and the host's password file hold one."""
    words = [kinto.secret(name) for name in ("administrator", "owner-production", "owner-sandbox")]
    allowed = {kinto.folder / "secrets", kinto.root / "secrets"}
    found = []
    for place, _, names in os.walk(kinto.folder):
        if Path(place) in allowed:
            continue
        for name in names:
            path = Path(place) / name
            if not path.is_symlink() and any(word.encode() in path.read_bytes() for word in words):
                found.append(path)
    assert found == []
    assert not list(kinto.scratch.glob("ansible-*")), "private folders are removed"
    for file in (kinto.root / "secrets").iterdir():
        assert file.stat().st_mode & 0o077 == 0


def test_what_the_programs_show_holds_no_secret(kinto: Trial) -> None:
    words = [kinto.secret("owner-production").encode(), kinto.secret("administrator").encode()]
    looked_at = 0
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with suppress(OSError):
                shown = (folder / name).read_bytes()
                looked_at += 1
                assert not any(word in shown for word in words), shown[:200]
    assert looked_at > 10
