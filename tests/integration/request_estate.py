"""An estate with several kinds of customers, as its file is written for a world in which requests live."""

from __future__ import annotations

import hashlib
from pathlib import Path

ESTATE = """\
estate: test-estate
undo_days: 7
concurrent_runs: 4
windows:
  sunday-early:
    zone: America/Chicago
    days: [sun]
    start: "04:00"
    length: 5h
    valid_from: 2026-01-01
  thursday-night:
    zone: America/New_York
    days: [thu]
    start: "00:30"
    length: 3h
    valid_from: 2026-01-01
freezes:
  year-end:
    zone: America/Chicago
    first: 2026-12-20
    last: 2027-01-03
    yearly: true
    reason: Holidays
database_servers:
  live:
    host: 127.0.0.1
    port: {live}
    production: true
    owner: {{user: postgres, secret: owner}}
    reader: {{user: reader, secret: reader}}
    slots: 2
  trial:
    host: 127.0.0.1
    port: {trial}
    production: false
    owner: {{user: postgres, secret: owner}}
    slots: 2
hosts:
  web: {{connection: local}}
applications:
  kinto:
releases:
{releases}
groups:
  coastal:
    title: Coastal Colleges
    kind: consortium
    windows: [thursday-night]
  allies:
    title: Allies, a partner
    kind: partner
    windows: [thursday-night]
customers:
{customers}
contacts:
  engineer@hosting.example.org: {{name: Hosting engineer, zone: UTC, role: engineer}}
  dana@lakeside.example.org: {{name: Dana, zone: America/Chicago, customers: [lakeside]}}
  li@coastal.example.org: {{name: Li, zone: America/New_York, groups: [coastal]}}
  pat@partner.example.org: {{name: Pat, zone: Europe/Berlin, groups: [allies]}}
  mo@mesa.example.org: {{name: Mo, zone: America/Denver, customers: [mesa]}}
"""

RELEASES = {
    "23.1.0": "2025-11-10",
    "24.0.0": "2026-01-10",
    "24.1.1": "2026-03-02",
    "26.5.0": "2026-11-02",
    "27.0.0": "2999-01-01",
}

CUSTOMERS = {
    "lakeside": ("Lakeside Schools", "America/Chicago", "windows: [sunday-early]", True),
    "harbor": ("Harbor College", "America/New_York", "group: coastal", True),
    "bay": ("Bay College", "America/New_York", "group: coastal", False),
    "cove": ("Cove College", "America/New_York", "group: coastal", False),
    "dune": ("Dune College", "America/New_York", "group: coastal", False),
    "ridge": ("Ridge Academy", "Europe/Berlin", "group: allies", True),
    "mesa": ("Mesa Schools", "America/Denver", "windows: [sunday-early]\n    auto_updated: true", True),
}


def estate_text(live: int, trial: int, folder: Path) -> str:
    """The estate's file, with the locks of its releases written into `folder`."""
    releases = []
    for version, published in RELEASES.items():
        lock = folder / f"kinto-{version}.txt"
        lock.write_text(f"kinto=={version}\n")
        releases.append(
            f"  - {{application: kinto, version: {version}, line: {version.split('.')[0]},"
            f" lock: {lock.name}, sha256: {hashlib.sha256(lock.read_bytes()).hexdigest()},"
            f" published: {published}, follow_up: Log in again.}}\n"
        )
    customers = [
        _customer(name, title, zone, more, staging=staging, first_port=9000 + 10 * number)
        for number, (name, (title, zone, more, staging)) in enumerate(CUSTOMERS.items())
    ]
    return ESTATE.format(live=live, trial=trial, releases="".join(releases), customers="".join(customers))


def _customer(name: str, title: str, zone: str, more: str, *, staging: bool, first_port: int) -> str:
    sites = {"production": ("live", "live"), "sandbox": ("live", "trial")}
    if staging:
        sites["staging"] = ("staging", "trial")
    webapps = dict.fromkeys(webapp for webapp, _ in sites.values())
    lines = [f"  {name}:", f"    title: {title}", f"    zone: {zone}", f"    {more}", "    webapps:"]
    lines += [f"      {webapp}: {{application: kinto, hosts: [web]}}" for webapp in webapps]
    lines += ["    sites:"]
    lines += [
        f"      {site}: {{webapp: {webapp}, server: {server}, database: {name}_{site},"
        f" url: 'http://127.0.0.1:{first_port + number}', port: {first_port + number}}}"
        for number, (site, (webapp, server)) in enumerate(sites.items())
    ]
    return "\n".join(lines) + "\n"
