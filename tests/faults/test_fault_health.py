"""What a health check would let through that looks once, or does not ask which version answers."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle

import psycopg
from pydantic import SecretStr

from infra.checks import Checks, Subject, healthy, run_checks
from tests.faults.conftest import Damage

OLD, NEW, AWAY = "1.0.0", "2.0.0", ""


@contextmanager
def answering(*answers: str) -> Iterator[Subject]:
    """A site that gives these versions in turn, again and again; an empty one is a 503."""
    turns = cycle(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            version = next(turns)
            body = json.dumps({"version": version}).encode()
            self.send_response(200 if version else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    def no_database() -> psycopg.Connection:
        raise AssertionError("these checks ask no database")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Subject(
                url=f"http://127.0.0.1:{server.server_port}",
                connect=no_database,
                password=SecretStr("word-of-the-administrator"),
                webapp_key="lakeside/live",
            )
        finally:
            server.shutdown()
            thread.join()


def checks(*, in_a_row: int = 2, version: str = "{expect.version}") -> Checks:
    """One check of the version; without `version` any good answer will do."""
    expect = {"json": {"/version": version}} if version else {"status": [200]}
    return Checks.model_validate(
        {
            "application": "leaf",
            "administrator": "admin",
            "good_in_a_row": in_a_row,
            "deadline_s": 1.5,
            "checks": [
                {"name": "version", "title": "Version", "http": [{"request": "GET /v", "expect": expect}]}
            ],
        }
    )


def test_without_several_in_a_row_a_site_that_flaps_is_healthy(damage: Damage) -> None:
    for in_a_row, let_through in ((2, False), (1, True)):
        with answering(AWAY, NEW) as site:
            results = run_checks(checks(in_a_row=in_a_row), site, expect={"version": NEW})
        assert healthy(results) is let_through, results
    damage(15, "a site that answers every other time is called healthy and opened to its users")


def test_without_asking_the_version_the_old_one_is_taken_for_the_new(damage: Damage) -> None:
    for version, let_through in (("{expect.version}", False), ("", True)):
        with answering(OLD) as site:
            results = run_checks(checks(version=version), site, expect={"version": NEW})
        assert healthy(results) is let_through, results
    damage(15, "the old version, which still answers, is taken for the new one")
