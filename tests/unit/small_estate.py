"""An estate's file with one of everything, for tests to read and to spoil."""

from __future__ import annotations

import hashlib
from pathlib import Path

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


def write_estate(folder: Path, text: str) -> Path:
    """The estate's file, beside the lock whose digest it tells."""
    lock = folder / "lock.txt"
    lock.write_text("kinto==26.10\n")
    path = folder / "estate.yaml"
    path.write_text(text.replace("DIGEST", hashlib.sha256(lock.read_bytes()).hexdigest()))
    return path
