"""Which release each web application runs, and which were tried on it and put back.

Invariant: a known-bad pair of release and web application is not tried again until a person acknowledged it.
"""

from __future__ import annotations

from infra.ledger.connection import Connection
from policy.estate import Release
from policy.names import RunId, Version


def record(connection: Connection, *, webapp: str, release: Release, run: RunId | None) -> None:
    """From now on `webapp` runs `release`."""
    connection.execute(
        "insert into installed (webapp, version, lock_sha256, run) values (%s, %s, %s, %s)"
        " on conflict (webapp) do update set version = excluded.version, lock_sha256 = excluded.lock_sha256,"
        " run = excluded.run, since = now()",
        (webapp, release.version, release.sha256, run),
    )


def versions(connection: Connection) -> dict[str, Version]:
    """The installed version of every web application that Freshet has installed, by its key."""
    rows = connection.execute("select webapp, version from installed").fetchall()
    return {str(row["webapp"]): Version(str(row["version"])) for row in rows}


def mark_bad(connection: Connection, *, webapp: str, release: Release, run: RunId) -> None:
    """Remember that `release` was tried on `webapp` and put back."""
    connection.execute(
        "insert into known_bad (webapp, version, lock_sha256, run) values (%s, %s, %s, %s)"
        " on conflict (webapp, version, lock_sha256)"
        " do update set run = excluded.run, at = now(), acknowledged_at = null",
        (webapp, release.version, release.sha256, run),
    )


def known_bad(connection: Connection, *, webapp: str, release: Release) -> bool:
    """Whether `release` failed on `webapp` and nobody has acknowledged it since."""
    row = connection.execute(
        "select 1 from known_bad where webapp = %s and version = %s and lock_sha256 = %s"
        " and acknowledged_at is null",
        (webapp, release.version, release.sha256),
    ).fetchone()
    return row is not None


def acknowledge(connection: Connection, *, webapp: str) -> int:
    """A person has looked at what failed on `webapp`; returns how many pairs may be tried again."""
    return connection.execute(
        "update known_bad set acknowledged_at = now() where webapp = %s and acknowledged_at is null",
        (webapp,),
    ).rowcount
