"""Health checks against a real HTTP server and a real database: warm-up, verdicts, comparisons, traces."""

from __future__ import annotations

import http.server
import json
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from infra.checks import Baseline, Checks, Subject, door_pass, healthy, load_checks, run_checks, take_baseline
from infra.checks_file import Check, SqlLook
from infra.stack.cluster import Cluster
from policy.errors import Unavailable
from policy.names import ApplicationName

WORD = "word-of-the-administrator"
CHECKS = """
application: trial
administrator: admin
good_in_a_row: 2
deadline_s: 6
expectations: [schema]
checks:
  - {name: version, title: Version, http: [{request: GET /v, expect: {json: {/version: "{expect.version}"}}}]}
  - {name: schema, title: Schema, needs: [schema], sql: {query: SELECT max(n) FROM schema_is, equals: "{expect.schema}"}}
  - name: signed_in
    title: Signed in
    http:
      - {request: GET /form, save: {token: {pattern: 'token=(\\w+)'}}}
      - {request: POST /form, form: {token: "{saved.token}", password: "{admin.password}"}, expect: {headers: {X-In: "yes"}}}
      - {request: GET /me, sign_in: basic, expect: {contains: [admin]}}
  - {name: rows, title: Rows, sql: {query: SELECT count(*) FROM record, equals_before: true}}
  - {name: some, title: Some, sql: {query: SELECT count(*) FROM record, at_least: 1}}
  - {name: quick, title: Quick, latency: {request: GET /v, samples: 2, at_most_times: 2, slack_s: 0.2}}
"""  # noqa: E501 - a check is one line


class Site:
    """A small application whose behaviour the test sets."""

    def __init__(self) -> None:
        self.version = "2.0"
        self.refusing = 0
        self.slow_s = 0.0
        self.wrong_word = False
        self.things = ""
        self.asked: list[str] = []
        self.passes: set[str | None] = set()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.passes.add(self.headers.get("X-Freshet-Pass"))
                time.sleep(site.slow_s)
                if site.refusing > 0:
                    site.refusing -= 1
                    self.answer(503, b"warming up")
                elif self.path == "/v":
                    self.answer(200, json.dumps({"version": site.version}).encode())
                elif self.path == "/form":
                    self.answer(200, b"token=abc123")
                else:
                    told = b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
                    right = told == f"admin:{WORD}" and not site.wrong_word
                    self.answer(200 if right else 401, b"admin" if right else told.encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                if self.path == "/things":
                    with psycopg.connect(site.things) as connection:
                        taken = connection.execute("SELECT FROM record WHERE id = 99").fetchone()
                        connection.execute("INSERT INTO record VALUES (99)")
                    self.answer(409 if taken else 201, b"")
                    return
                self.answer(200, b"", yes=body == f"token=abc123&password={WORD}")

            def answer(self, status: int, body: bytes, *, yes: bool = False) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if yes:
                    self.send_header("X-In", "yes")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def checks(tmp_path: Path) -> Checks:
    role = tmp_path / "roles" / "app_trial"
    role.mkdir(parents=True)
    (role / "checks.yml").write_text(CHECKS)
    return load_checks(ApplicationName("trial"), tmp_path)


@pytest.fixture(scope="module")
def database(live_cluster: Cluster) -> Iterator[str]:
    name = "checks_trial"
    with psycopg.connect(live_cluster.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(live_cluster.dsn(name)) as connection:
        connection.execute("CREATE TABLE schema_is AS SELECT 9 AS n UNION SELECT 10")
        connection.execute("CREATE TABLE record AS SELECT generate_series(1, 7) AS id")
    yield live_cluster.dsn(name)
    with psycopg.connect(live_cluster.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def subject(site: Site, database: str) -> Subject:
    return Subject(
        url=f"http://127.0.0.1:{site.server.server_port}",
        connect=lambda: psycopg.connect(database),
        password=SecretStr(WORD),
        webapp_key="trial/live",
    )


EXPECT = {"version": "2.0", "schema": "10"}


def test_a_healthy_site_with_its_baseline(checks: Checks, subject: Subject, site: Site) -> None:
    baseline = take_baseline(checks, subject)
    assert baseline.values["rows"] == "7"
    results = run_checks(checks, subject, expect=EXPECT, baseline=baseline)
    assert healthy(results), results
    assert [result.name for result in results] == [check.name for check in checks.checks]
    assert site.passes == {door_pass(SecretStr(WORD), "trial/live")}
    assert WORD not in str(results)


def test_checks_that_do_not_apply_are_left_out(checks: Checks, subject: Subject) -> None:
    results = run_checks(checks, subject, expect={"version": "2.0"})
    assert {result.name for result in results} == {"version", "signed_in", "some"}
    assert healthy(results)


def test_warming_up_is_not_failing(checks: Checks, subject: Subject, site: Site) -> None:
    site.refusing = 10
    assert healthy(run_checks(checks, subject, expect=EXPECT))


def test_a_definite_wrong_answer_ends_the_waiting_early(checks: Checks, subject: Subject, site: Site) -> None:
    site.wrong_word = True
    begun = time.monotonic()
    results = run_checks(checks, subject, expect=EXPECT, deadline_s=60)
    assert time.monotonic() - begun < 20
    (bad,) = [result for result in results if not result.good]
    assert (bad.name, bad.definite) == ("signed_in", True)
    assert "401" in bad.evidence
    assert WORD not in str(results), "an answer that echoes the password does not carry it into a report"


def test_a_site_that_never_answers_well_is_given_up_at_the_deadline(
    checks: Checks, subject: Subject, site: Site
) -> None:
    site.refusing = 1_000_000
    begun = time.monotonic()
    results = run_checks(checks, subject, expect=EXPECT, deadline_s=2)
    assert 1.9 < time.monotonic() - begun < 20
    assert not healthy(results)
    assert not any(result.definite for result in results if not result.good)


def test_good_once_is_not_good(checks: Checks, subject: Subject) -> None:
    results = run_checks(checks, subject, expect=EXPECT, deadline_s=0.01, good_in_a_row=50)
    assert [result.name for result in results if not result.good] == ["steady"]


def test_comparisons_with_before(checks: Checks, subject: Subject, site: Site) -> None:
    site.slow_s = 0.3
    baseline = Baseline(values={"rows": "8", "quick": 0.001})
    results = run_checks(checks, subject, expect=EXPECT, baseline=baseline, deadline_s=1)
    bad = {result.name: result.evidence for result in results if not result.good}
    assert bad["rows"] == "7 instead of 8"
    assert "at most" in bad["quick"]
    assert not next(result.definite for result in results if result.name == "quick"), "slowness may pass"


def test_a_wrong_schema_and_a_wrong_version(checks: Checks, subject: Subject) -> None:
    results = run_checks(checks, subject, expect={"version": "3.0", "schema": "9"})
    bad = {result.name: result.evidence for result in results if not result.good}
    assert bad == {"version": "GET /v: /version is 2.0, not 3.0", "schema": "10 instead of 9"}


def test_a_query_cannot_write(checks: Checks, subject: Subject, database: str) -> None:
    look = SqlLook(query="DELETE FROM record RETURNING 1", at_least=1)
    writing = Check(name="some", title="Some", sql=look)
    (result,) = run_checks(
        checks.model_copy(update={"checks": (writing,)}), subject, expect=EXPECT, deadline_s=0.1
    )
    assert result.evidence == "database: 25006"
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM record").fetchone() == (7,)


def writing(path: str) -> Check:
    """A check that makes thing 99, which may not be there yet, and then asks for `path`."""
    made = {"request": "POST /things", "form": {"id": "99"}, "expect": {"status": [201]}}
    return Check.model_validate(
        {
            "name": "writes",
            "title": "Writes",
            "http": [made, {"request": f"GET {path}"}],
            "clean_up": ["DELETE FROM record WHERE id = 99"],
        }
    )


def things(database: str) -> int:
    with psycopg.connect(database) as connection:
        return len(connection.execute("SELECT FROM record WHERE id = 99").fetchall())


def test_what_an_interrupted_check_left_is_removed_first(
    checks: Checks, subject: Subject, site: Site, database: str
) -> None:
    site.things = database
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO record VALUES (99)")
    results = run_checks(checks.model_copy(update={"checks": (writing("/v"),)}), subject, expect=EXPECT)
    assert healthy(results), results
    assert things(database) == 0


def test_a_check_that_fails_in_its_middle_leaves_nothing(
    checks: Checks, subject: Subject, site: Site, database: str
) -> None:
    site.things = database
    site.wrong_word = True
    results = run_checks(checks.model_copy(update={"checks": (writing("/me"),)}), subject, expect=EXPECT)
    assert "401" in results[0].evidence, results
    assert things(database) == 0


def test_a_database_that_lets_nobody_in_is_evidence_and_no_crash(checks: Checks, subject: Subject) -> None:
    def refuse() -> psycopg.Connection:
        raise Unavailable("database 'x' does not let 'y' in")

    closed = Subject(url=subject.url, connect=refuse, password=subject.password, webapp_key="trial/live")
    assert set(take_baseline(checks, closed).values) == {"quick"}
    results = run_checks(checks, closed, expect=EXPECT, deadline_s=0.5)
    assert {result.name for result in results if not result.good} == {"schema", "some"}


def test_cancelling_ends_it(checks: Checks, subject: Subject, site: Site) -> None:
    site.refusing = 1_000_000
    begun = time.monotonic()
    run_checks(checks, subject, expect=EXPECT, deadline_s=60, cancelled=lambda: True)
    assert time.monotonic() - begun < 10
