"""Making golden images: built aside under another name, closed for good, and only then given the name.

Invariant: a database has an image's name or comment only when it is whole; what a killed build left has
neither, and is known by the build that it belongs to.
"""

from __future__ import annotations

from dataclasses import replace

import psycopg
from psycopg import sql

from infra.postgres.backends import end_sessions
from infra.postgres.fingerprint import fingerprint
from infra.postgres.golden import ADMIN_DATABASE, ALLOW, system_of
from infra.postgres.golden_image import Building, Golden, building_statement, image_statement
from infra.postgres.incoming import close_to_others, create_like, exists
from infra.postgres.methods import CopyJob, CopyMethod, CopyReport
from infra.postgres.progress import Watch, unwatched
from infra.postgres.server_error import telling
from policy.errors import Refused
from policy.names import DatabaseName, building_name

PATIENCE_MS = 5000
"""For so long each session is waited for when it is ended."""


@telling("building the golden image")
def build_golden(
    job: CopyJob, through: CopyMethod, progress: Watch = unwatched, *, asked: CopyJob | None = None
) -> CopyReport:
    """Build the image that `job` names through another method, and put it in the old one's place.

    Args:
        job: its `incoming` is the database to build in, as `through` needs it, on the server of the targets.
        through: brings the masked data.
        progress: told how far it is.
        asked: the copy that the image will be offered for, where `job` reads from another place that holds
            Production's data masked already; its `fingerprint` is set.

    Raises:
        Refused: the job names no image.
        StepFailed: a server refused something.
        Unavailable: a server was lost.
    """
    if job.golden is None:
        raise Refused(f"server '{job.target.name}': this copy names no golden image to build")
    asked = asked or job
    with asked.on_source() as source:
        word = asked.fingerprint or fingerprint(source)
        system = system_of(source)
    report = through.copy(replace(job, fingerprint=word), progress)
    with job.on_target(ADMIN_DATABASE, autocommit=True) as admin:
        install_golden(admin, job.incoming, job.golden, described(asked, report, schema=word, system=system))
    return report


def described(job: CopyJob, report: CopyReport, *, schema: str, system: str) -> Golden:
    """What an image says that was filled as `report` tells, to be offered for copies like `job`."""
    return Golden(
        source=f"{job.source.name}/{job.source_database}",
        system=system,
        policy=job.policy_hash(),
        schema=schema,
        as_of=report.as_of.isoformat(),
        tables=report.tables,
        rows=report.rows,
        bytes=0,
        oid=0,
        method=report.method,
    )


def start_building(
    admin: psycopg.Connection, database: DatabaseName, building: Building, *, encoding: str
) -> str:
    """Make the empty closed database in which an image of `database` is built; its name.

    Args:
        admin: an autocommit session in another database, as the role that is to own it.
        database: the site's, whose locale it takes.
        building: whose work it is.
        encoding: of the source.
    """
    name = building_name(database, building.build)
    create_like(admin, database, name, encoding=encoding)
    announce(admin, name, building)
    open_to_owner(admin, name)
    return name


def announce(admin: psycopg.Connection, name: str, building: Building) -> None:
    """Let the database `name` say that it is not whole yet, and close it to everybody but its owner."""
    admin.execute(building_statement(name, building))
    close_to_others(admin, name)


def open_to_owner(admin: psycopg.Connection, name: str) -> None:
    """Let the owner, and nobody else, into a database that is being made an image."""
    admin.execute(ALLOW.format(sql.Identifier(name), sql.SQL("true")))


def shut(admin: psycopg.Connection, name: str) -> None:
    """Let nobody into the database `name`, and end who is in it."""
    admin.execute(ALLOW.format(sql.Identifier(name), sql.SQL("false")))
    end_sessions(admin, [name], wait_ms=PATIENCE_MS)


def install_golden(admin: psycopg.Connection, building: str, golden: str, image: Golden) -> Golden:
    """Close the new image for good, and let it take the name in one transaction; what it says now."""
    new, name, old = (sql.Identifier(word) for word in (building, golden, f"{golden}_old"))
    shut(admin, building)
    row = admin.execute(
        "SELECT oid::bigint, pg_database_size(oid) FROM pg_database WHERE datname = %s", [building]
    ).fetchone()
    whole = replace(image, oid=int(row[0]) if row else 0, bytes=int(row[1]) if row else 0)
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(old))
    with admin.transaction():
        if exists(admin, golden):
            admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(name, old))
        admin.execute(image_statement(building, whole))
        admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(new, name))
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(old))
    return whole


def drop_image(admin: psycopg.Connection, name: str) -> None:
    """Drop an image, or what a build left; the caller has judged that it is one (`kept_images`)."""
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
