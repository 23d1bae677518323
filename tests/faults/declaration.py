"""The estate's file of a ground: a customer with Production, a Sandbox beside it, a Staging of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from policy.names import EmailAddress, Version

OLD, NEW = Version("1.0.0"), Version("2.0.0")
ENGINEER = EmailAddress("engineer@hosting.example.org")
CONTACT = EmailAddress("dana.brooks@lakeside.example.org")
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def estate_of(
    *,
    word: str,
    lock: Path,
    databases: Mapping[str, str],
    ports: Mapping[str, int],
    identities: Mapping[str, str],
    roles: Mapping[str, str],
    hosts: Path,
) -> dict[str, object]:
    """The sections of the file.

    Args:
        word: makes the estate's name unique.
        lock: the releases' lock file.
        databases: name of each site's database, by environment.
        ports: of the database servers `live` and `trial`.
        identities: system identifier of each.
        roles: the database role of each secret.
        hosts: the folder with one folder for each web application.
    """
    window = {"zone": "UTC", "days": DAYS, "start": "00:00", "length": "24h", "valid_from": "2026-01-01"}
    release = {
        "application": "leaf",
        "lock": lock.name,
        "sha256": hashlib.sha256(lock.read_bytes()).hexdigest(),
        "published": "2026-01-01",
    }
    return {
        "estate": f"faults-{word}",
        "windows": {"always": window},
        "database_servers": {name: _server(name, ports, identities, roles) for name in ("live", "trial")},
        "hosts": {"local": {"connection": "local"}},
        "applications": {"leaf": None},
        "releases": [
            {**release, "version": str(version), "line": str(version.parts[0])} for version in (OLD, NEW)
        ],
        "customers": {
            "lakeside": {
                "title": "Lakeside Schools",
                "zone": "America/Chicago",
                "windows": ["always"],
                "webapps": {
                    name: {
                        "application": "leaf",
                        "hosts": ["local"],
                        "variables": {"root": str(hosts / name)},
                    }
                    for name in ("live", "staging")
                },
                "sites": {
                    environment: {
                        "webapp": "staging" if environment == "staging" else "live",
                        "server": "live" if environment == "production" else "trial",
                        "database": database,
                        "url": f"https://{environment}.lakeside.example.net",
                        "port": 8000 + number,
                    }
                    for number, (environment, database) in enumerate(databases.items())
                },
            }
        },
        "contacts": {
            str(ENGINEER): {"name": "Hosting engineer", "zone": "UTC", "role": "engineer"},
            str(CONTACT): {"name": "Dana Brooks", "zone": "America/Chicago", "customers": ["lakeside"]},
        },
    }


def _server(
    name: str, ports: Mapping[str, int], identities: Mapping[str, str], roles: Mapping[str, str]
) -> dict[str, object]:
    server: dict[str, object] = {
        "host": "127.0.0.1",
        "port": ports[name],
        "production": name == "live",
        "system_identifier": identities[name],
        "owner": {"user": roles[f"{name}-owner"], "secret": f"{name}-owner"},
        "slots": 8,
    }
    if name == "live":
        server["reader"] = {"user": roles["live-reader"], "secret": "live-reader"}
    return server
