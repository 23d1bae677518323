"""A small real application, for hundreds of upgrades: notes behind a sign-in, one process for all its sites.

It is not a package: this file is its artefact. `serve` answers on every site's port, `cache` is its companion
service, `migrate` brings one database to the schema of this release, in two transactions.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg

VERSION = "1.0.0"
SCHEMA = 1
FIRST = (
    "create table if not exists schema_version (one bool primary key default true check (one), version int)",
    "create table if not exists note (id text primary key, body text not null, mood text)",
    "insert into schema_version (version) values (1) on conflict do nothing",
)
SECOND = ("create table if not exists tag (id text primary key)",)
THIRD = ("alter table note drop column if exists mood", "update schema_version set version = 2")
"""The second release's migration destroys: without the snapshot there is no way back."""


def connect(site: dict[str, Any]) -> psycopg.Connection[Any]:
    return psycopg.connect(site["dsn"], connect_timeout=5, autocommit=True)


def schema(site: dict[str, Any]) -> int:
    with connect(site) as session:
        there = session.execute("select to_regclass('schema_version') is not null").fetchone()
        if there is None or not there[0]:
            return 0
        row = session.execute("select version from schema_version").fetchone()
        return 0 if row is None else int(row[0])


def migrate(site: dict[str, Any], *, look: bool) -> None:
    found = schema(site)
    steps = [
        (FIRST, found < 1),
        (SECOND, found < SCHEMA and SCHEMA > 1),
        (THIRD, found < SCHEMA and SCHEMA > 1),
    ]
    for statements, wanted in steps:
        if wanted and not look:
            with connect(site) as session, session.transaction():
                for statement in statements:
                    session.execute(statement)
    if any(wanted for _, wanted in steps):
        sys.stdout.write("would migrate\n" if look else "migrated\n")


class Answers(BaseHTTPRequestHandler):
    """One site's answers; the server holds the site."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing: the door keeps no log either."""

    def _send(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _act(self, method: str) -> None:
        site = self.server.site  # type: ignore[attr-defined]  # set by `serve`
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        if self.path == "/":
            with connect(site) as session:
                session.execute("select version from schema_version")
            self._send(200, {"version": VERSION, "schema": schema(site)})
            return
        sign_in = base64.b64decode(self.headers.get("Authorization", "Basic Og==").partition(" ")[2])
        if hashlib.sha256(sign_in).hexdigest() != site["sign_in_sha256"]:
            self._send(401, {"error": "sign in"})
            return
        key = self.path.rpartition("/")[2]
        with connect(site) as session:
            if method == "PUT":
                session.execute(
                    "insert into note (id, body) values (%s, %s)"
                    " on conflict (id) do update set body = excluded.body",
                    (key, body["body"]),
                )
            if method == "DELETE":
                session.execute("delete from note where id = %s", (key,))
            row = session.execute("select body from note where id = %s", (key,)).fetchone()
        self._send(200, {"body": None if row is None else row[0]})

    def do_GET(self) -> None:
        """Read."""
        self._act("GET")

    def do_PUT(self) -> None:
        """Write."""
        self._act("PUT")

    def do_DELETE(self) -> None:
        """Remove."""
        self._act("DELETE")


def serve(config: dict[str, Any]) -> None:
    servers = []
    for site in config["sites"].values():
        server = ThreadingHTTPServer((site["address"], site["port"]), Answers)
        server.site = site  # type: ignore[attr-defined]  # read by the handler
        server.daemon_threads = True
        servers.append(server)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        time.sleep(3600)


def main() -> None:
    verb, file, *words = sys.argv[1:]
    config = json.loads(Path(file).read_text())
    if verb == "serve":
        serve(config)
    elif verb == "cache":
        while True:
            time.sleep(3600)
    elif verb == "migrate":
        migrate({**config["sites"][words[0]], "dsn": words[1]}, look="--look" in words)


if __name__ == "__main__":
    main()
