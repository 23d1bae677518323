"""What a golden image says of itself, in its database comment, which every session of the server can read.

Invariant: only a database that carries its name, its comment and its own number agrees to be an image; a copy
of it, or one that a person renamed, does not. What is being made says so, and whose work it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from infra.postgres.neutralise import Places
from policy.names import Version
from policy.protection import Protection

_IMAGE, _BUILDING = "freshet golden ", "freshet golden-build "
_DERIVED = re.compile(r"(?P<database>[a-z][a-z0-9_]*?)__golden(?:_b(?P<build>\d{1,9})|(?P<old>_old))?")
_PROOF = "1"
"""Changes whenever neutralising or proving comes to mean something else; images of before are built anew."""

Admin = psycopg.Connection[Any]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """What an image's comment says.

    Attributes:
        source: server and database that it was made from.
        system: that server's system identifier.
        policy: `CopyJob.policy_hash` at that time.
        schema: `fingerprint` of the source at that time.
        as_of: the source's time of the data.
        oid: its own number, which no copy of it has.
        proven: `proof_word` of what it was neutralised and probed under; empty when it was not.
        site: whose it is.
        ledger: whose builders made it, and may replace it.
        built_at: when it took its name.
        method: how the data came.
    """

    source: str
    system: str
    policy: str
    schema: str
    as_of: str
    tables: int
    rows: int
    bytes: int
    oid: int
    proven: str = ""
    site: str = ""
    ledger: str = ""
    built_at: str = ""
    method: str = ""

    def age(self, now: datetime) -> timedelta:
        """How old its data are; clocks differ a little, and nothing is from the future."""
        return max(now - datetime.fromisoformat(self.as_of), timedelta(0))


@dataclass(frozen=True, kw_only=True)
class Building:
    """What the comment of an image that is being made says."""

    ledger: str
    build: int


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A database that is an image, or is being made one, or was one.

    Attributes:
        database: the site's, which its name derives from.
        image: what it says when it is whole, whether it still has the image's name or not.
        building: what it says while it is not. With neither, its builder died before it could say anything.
        retired: it had the image's name before the present one.
    """

    name: str
    database: str
    bytes: int
    image: Golden | None
    building: Building | None
    retired: bool

    @property
    def serves(self) -> bool:
        """Whether copies are made of it."""
        return self.image is not None and not self.retired

    @property
    def ledger(self) -> str:
        """Whose it is."""
        told = self.image or self.building
        return "" if told is None else told.ledger


def proof_word(protection: Protection, places: Places, release: Version) -> str:
    """Everything that neutralising and probing depend on beside the rows: equal words, the same result.

    Args:
        protection: the application's policy.
        places: Production's and the site's addresses.
        release: what Production runs; another one may have changed rows without changing the schema.
    """
    told = [
        _PROOF,
        protection.digest,
        release,
        *(f"{name}={value}" for name, value in places.settings().items()),
    ]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def image_statement(name: str, image: Golden) -> Composed:
    """The statement that makes the database `name` say what it is."""
    return _comment(name, _IMAGE + json.dumps(asdict(image)))


def building_statement(name: str, building: Building) -> Composed:
    """The statement that makes the database `name` say that it is not whole yet."""
    return _comment(name, _BUILDING + json.dumps(asdict(building)))


def read_golden(admin: Admin, name: str) -> Golden | None:
    """What the image `name` says of itself, or None if there is none or it is not one of ours."""
    row = admin.execute(
        "SELECT shobj_description(oid, 'pg_database'), oid::bigint FROM pg_database WHERE datname = %s",
        [name],
    ).fetchone()
    return None if row is None else _image(row[0], row[1])


def kept_images(admin: Admin) -> tuple[Kept, ...]:
    """Every database of this role on the server that is called like an image or a part of making one."""
    rows = admin.execute(
        "SELECT datname::text, shobj_description(oid, 'pg_database'), oid::bigint, pg_database_size(oid) "
        "FROM pg_database WHERE datname LIKE '%\\_\\_golden%' AND pg_has_role(datdba, 'USAGE') "
        "ORDER BY datname"
    ).fetchall()
    found = []
    for name, comment, number, size in rows:
        derived = _DERIVED.fullmatch(name)
        if derived is None:
            continue
        image, building = _image(comment, number), _building(comment)
        if derived["build"] is None or (building is not None and building.build != int(derived["build"])):
            building = None
        if image or building or derived["build"]:
            found.append(
                Kept(
                    name=name,
                    database=derived["database"],
                    bytes=int(size),
                    image=image,
                    building=building,
                    retired=derived["old"] is not None,
                )
            )
    return tuple(found)


def _comment(name: str, text: str) -> Composed:
    return SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(name), Literal(text))


def _image(comment: str | None, number: int) -> Golden | None:
    if comment is None or not comment.startswith(_IMAGE):
        return None
    try:
        image = Golden(**json.loads(comment.removeprefix(_IMAGE)))
    except (ValueError, TypeError):
        return None
    return image if image.oid == number else None


def _building(comment: str | None) -> Building | None:
    if comment is None or not comment.startswith(_BUILDING):
        return None
    try:
        return Building(**json.loads(comment.removeprefix(_BUILDING)))
    except (ValueError, TypeError):
        return None
