"""What the ground of upgrades declares: its releases, and the estate's file around them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.stack.cluster import Cluster
from policy.names import EmailAddress

ENGINEER = EmailAddress("engineer@hosting.example.org")
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
PEBBLE = Path(__file__).with_name("pebble.py")


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A release of the ground's estate."""

    version: str
    lock: Path
    schema: str


def pebble_packs(folder: Path) -> tuple[Pack, Pack]:
    """Two releases of the small application: their locks are their programs."""
    text = PEBBLE.read_text(encoding="utf-8")
    newer = text.replace('VERSION = "1.0.0"', 'VERSION = "2.0.0"').replace("SCHEMA = 1\n", "SCHEMA = 2\n")
    assert newer.count("2.0.0") == 1
    found = []
    for version, schema, content in (("1.0.0", "1", text), ("2.0.0", "2", newer)):
        lock = folder / f"pebble-{version}.txt"
        lock.write_text(content, encoding="utf-8")
        found.append(Pack(version=version, lock=lock, schema=schema))
    return found[0], found[1]


def servers(clusters: Mapping[str, Cluster], host: str, word: str) -> dict[str, dict[str, object]]:
    """The database servers, reached at `host` by roles whose names end with `word`."""

    def login(secret: str) -> dict[str, str]:
        return {"user": f"{secret.replace('-', '_')}_{word}", "secret": secret}

    return {
        name: {
            "host": host,
            "port": cluster.port,
            "production": name == "live",
            "system_identifier": cluster.system_identifier(),
            "owner": login(f"{name}-owner"),
            **({"reader": login("live-reader")} if name == "live" else {}),
        }
        for name, cluster in clusters.items()
    }


def declaration(
    *,
    word: str,
    application: str,
    packs: Sequence[Pack],
    servers: Mapping[str, Mapping[str, object]],
    hosts: Mapping[str, Mapping[str, object]],
    sites: Mapping[str, Mapping[str, object]],
    variables: Mapping[str, object],
) -> dict[str, object]:
    """The sections of the file: one customer, whose window is always open.

    Args:
        word: makes the estate's name unique.
        application: what is hosted.
        packs: its releases.
        servers: the database servers.
        hosts: where the web application runs.
        sites: by environment; all of them are served by it.
        variables: of the web application.
    """
    return {
        "estate": f"upgrades-{word}",
        "windows": {
            "always": {
                "zone": "UTC",
                "days": DAYS,
                "start": "00:00",
                "length": "24h",
                "valid_from": "2026-01-01",
            }
        },
        "database_servers": dict(servers),
        "hosts": dict(hosts),
        "applications": {application: None},
        "releases": [
            {
                "application": application,
                "version": pack.version,
                "line": pack.version.partition(".")[0],
                "lock": str(pack.lock),
                "sha256": hashlib.sha256(pack.lock.read_bytes()).hexdigest(),
                "expect": {"schema_version": pack.schema},
                "published": "2026-01-01",
            }
            for pack in packs
        ],
        "customers": {
            "lakeside": {
                "title": "Lakeside Schools",
                "zone": "America/Chicago",
                "windows": ["always"],
                "webapps": {
                    "live": {
                        "application": application,
                        "hosts": list(hosts),
                        "variables": dict(variables),
                    }
                },
                "sites": dict(sites),
            }
        },
        "contacts": {
            str(ENGINEER): {"name": "Hosting engineer", "zone": "UTC", "role": "engineer"},
            "dana.brooks@lakeside.example.org": {
                "name": "Dana Brooks",
                "zone": "America/Chicago",
                "customers": ["lakeside"],
            },
        },
    }
