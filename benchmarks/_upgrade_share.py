"""The application's own share of an upgrade: its migration and its start by hand, with nothing of Freshet.

Invariant: the same databases, the same release on the same disk and the same order as in the upgrade before;
the copies and processes made for it are gone afterwards.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from psycopg.sql import SQL, Identifier

from benchmarks._upgrade_ground import SITE, Ground
from infra.postgres.session import connect
from policy.estate import Site
from policy.names import RunId, snapshot_name

BEHIND = "127.0.8.1"
PATIENCE_S = 60.0


def share(ground: Ground, run: str) -> tuple[float, float]:
    """Seconds that both migrations, begun together, and then both starts take.

    Args:
        ground: its application was upgraded by `run` and is stopped now.
        run: its snapshots are what is migrated.
    """
    root = Path(str(ground.estate.webapp(SITE).variables["root"]))
    release = (root / "current").resolve()
    sites = ground.estate.served_by(ground.estate.webapp(SITE))
    with contextlib.ExitStack() as stack:
        copies = {site: stack.enter_context(_copy(ground, site, run)) for site in sites}
        began = time.monotonic()
        migrations = [_migration(release, site, copy) for site, copy in copies.items()]
        codes = [process.wait(PATIENCE_S) for process in migrations]
        migrate_s = time.monotonic() - began
    if any(codes):
        raise RuntimeError(f"a migration by hand ended with {codes}")
    began = time.monotonic()
    programs = [
        subprocess.Popen(
            [release / "venv/bin/pserve", release / "sites" / f"{site.id.environment.value}.ini"],
            env=_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for site in sites
    ]
    try:
        while not all(_serves(site) for site in sites):
            if time.monotonic() - began > PATIENCE_S:
                raise TimeoutError("the application by hand does not start")
            time.sleep(0.03)
        return round(migrate_s, 3), round(time.monotonic() - began, 3)
    finally:
        for program in programs:
            program.terminate()
        for program in programs:
            program.wait(PATIENCE_S)


@contextlib.contextmanager
def _copy(ground: Ground, site: Site, run: str) -> Iterator[str]:
    """A copy of the database as it was before the upgrade."""
    server = ground.estate.servers[site.server]
    name = f"{site.database}_by_hand"
    with connect(
        server, "postgres", server.owner, ground.world.secrets, run="bench", autocommit=True
    ) as admin:
        admin.execute(
            SQL("create database {} template {}").format(
                Identifier(name), Identifier(snapshot_name(site.database, RunId(run)))
            )
        )
        try:
            yield name
        finally:
            admin.execute(SQL("drop database {} with (force)").format(Identifier(name)))


def _migration(release: Path, site: Site, database: str) -> subprocess.Popen[bytes]:
    ini = release / "sites" / f"{site.id.environment.value}.ini"
    found = re.search(r"^kinto\.storage_url = (.+)$", ini.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{ini} names no database")
    url = found[1].replace("%%", "%").replace(f"/{site.database}?", f"/{database}?")
    told = dict.fromkeys(("KINTO_STORAGE_URL", "KINTO_PERMISSION_URL", "KINTO_CACHE_URL"), url)
    return subprocess.Popen(
        [release / "venv/bin/kinto", "migrate", "--ini", ini],
        env={**_environment(), **told},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}


def _serves(site: Site) -> bool:
    connection = http.client.HTTPConnection(BEHIND, site.port, timeout=10)
    try:
        connection.request("GET", "/v1/__lbheartbeat__")
        return connection.getresponse().status < http.client.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
