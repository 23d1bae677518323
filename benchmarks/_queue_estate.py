"""The estate of many customers whose requests come through the queue, as its file declares it.

Invariant: every customer has all four sites and may ask at any hour, so that nothing but the queue is in
anybody's way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

ENGINEER = "engineer@hosting.example.org"
PRODUCTION, SANDBOX, STAGING, PREVIEW = "production", "sandbox", "staging", "preview"


def declaration(folder: Path, customers: Iterable[str]) -> dict[str, object]:
    """What the estate's file says.

    Args:
        folder: where the file will lie; the releases' list of artefacts is written there.
        customers: their names, each a letter and a number; may come again.
    """
    (folder / "leaf.txt").write_bytes(b"leaf\n")
    release = {
        "application": "leaf",
        "lock": "leaf.txt",
        "sha256": hashlib.sha256(b"leaf\n").hexdigest(),
        "published": "2026-01-01",
    }
    servers = {
        name: {
            "host": "127.0.0.1",
            "port": 15_000 + number,
            "production": name == "live",
            "system_identifier": str(7_000_000_000_000_000_000 + number),
            "owner": {"user": f"{name}_owner", "secret": f"{name}-owner"},
            "slots": 8,
            **({"reader": {"user": "live_reader", "secret": "live-reader"}} if name == "live" else {}),
        }
        for number, name in enumerate(("live", "trial"))
    }
    window = {"zone": "UTC", "start": "00:00", "length": "24h", "valid_from": "2026-01-01"}
    return {
        "estate": "queue",
        "windows": {"always": {**window, "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}},
        "database_servers": servers,
        "hosts": {"local": {"connection": "local"}},
        "applications": {"leaf": None},
        "releases": [{**release, "version": f"{line}.0.0", "line": str(line)} for line in (1, 2)],
        "customers": {name: _customer(name) for name in customers},
        "contacts": {ENGINEER: {"name": "Hosting engineer", "zone": "UTC", "role": "engineer"}},
    }


def _customer(name: str) -> dict[str, object]:
    number = int(name[1:])
    return {
        "title": f"Customer {number}",
        "zone": "America/Chicago",
        "windows": ["always"],
        "webapps": {
            webapp: {"application": "leaf", "hosts": ["local"]} for webapp in ("live", STAGING, PREVIEW)
        },
        "sites": {
            site: {
                "webapp": site if site in {STAGING, PREVIEW} else "live",
                "server": "live" if site == PRODUCTION else "trial",
                "database": f"{site}_{number}",
                "url": f"https://{site}.{name}.example.net",
                "port": 20_000 + number * 4 + place,
            }
            for place, site in enumerate((PRODUCTION, SANDBOX, STAGING, PREVIEW))
        },
    }
