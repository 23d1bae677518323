"""The tag on a database that a run made: a comment that every session of the server can read.

Invariant: a database that a run builds or sets aside carries one, and the database that serves never does.
What is dropped by age needs name and tag to agree, so look-alikes of others survive.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from policy.errors import Refused
from policy.names import RunId

_PREFIX = "freshet "
_DERIVED = re.compile(r"(?P<database>[a-z][a-z0-9_]*?)__(?P<kind>in|prev|snap|fail)_(?P<run>r\d+a\d+)")


class Standing(StrEnum):
    """What a database is to the run in its name."""

    INCOMING = "in"
    PREVIOUS = "prev"
    SNAPSHOT = "snap"
    FAILED = "fail"


@dataclass(frozen=True, kw_only=True)
class Tag:
    """What a database's comment says.

    Attributes:
        database: the declared database that it was made from or for.
        at: when it was given this standing.
        comment: the comment that the database had before, to be given back.
        of: for a failed one, the run whose data it holds; `run` is the one that set it aside.
        proven: for an incoming one that is a clone of a golden image, the word under which the image was
            neutralised and proven; empty for every other.
        release: for a previous one, what the site's web application ran when it was set aside.
    """

    standing: Standing
    database: str
    run: RunId
    at: datetime
    comment: str | None = None
    of: RunId | None = None
    proven: str = ""
    release: str = ""


@dataclass(frozen=True, kw_only=True)
class TaggedDatabase:
    """A database that a run left on a server; name and tag agree."""

    name: str
    tag: Tag
    bytes: int


def tag_statement(name: str, tag: Tag) -> Composed:
    """The statement that puts `tag` on the database `name`."""
    text = _PREFIX + json.dumps(
        {
            "standing": tag.standing.value,
            "database": tag.database,
            "run": tag.run,
            "at": tag.at.isoformat(),
            "comment": tag.comment,
            "of": tag.of,
            "proven": tag.proven,
            "release": tag.release,
        }
    )
    return SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(name), Literal(text))


def read_tag(admin: psycopg.Connection[Any], name: str) -> Tag | None:
    """The tag of the database `name`, or None when it has none or one that is not ours."""
    row = admin.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
    ).fetchone()
    return None if row is None else _parse(row[0])


def tagged(admin: psycopg.Connection[Any]) -> tuple[TaggedDatabase, ...]:
    """Every database of this role on the server whose derived name and tag agree.

    Those of other roles are not ours, whatever they are called; their size could not even be asked for.
    """
    rows = admin.execute(
        "SELECT datname::text, shobj_description(oid, 'pg_database'), pg_database_size(oid) "
        "FROM pg_database WHERE datname LIKE '%\\_\\_%' AND pg_has_role(datdba, 'USAGE') ORDER BY datname"
    ).fetchall()
    found = []
    for name, comment, size in rows:
        derived, tag = _DERIVED.fullmatch(name), _parse(comment)
        if derived is None or tag is None:
            continue
        if (derived["database"], derived["kind"], derived["run"]) == (tag.database, tag.standing, tag.run):
            found.append(TaggedDatabase(name=name, tag=tag, bytes=size))
    return tuple(found)


def database_of(name: str, comment: str | None) -> str | None:
    """The declared database that `name` was made from or for by a run; None when no run made it."""
    derived, tag = _DERIVED.fullmatch(name), _parse(comment)
    return (
        tag.database
        if derived is not None and tag is not None and derived["database"] == tag.database
        else None
    )


def _parse(comment: str | None) -> Tag | None:
    if comment is None or not comment.startswith(_PREFIX):
        return None
    try:
        told = json.loads(comment.removeprefix(_PREFIX))
        return Tag(
            standing=Standing(told["standing"]),
            database=str(told["database"]),
            run=RunId(told["run"]),
            at=datetime.fromisoformat(told["at"]),
            comment=None if told["comment"] is None else str(told["comment"]),
            of=None if told["of"] is None else RunId(told["of"]),
            proven=str(told.get("proven", "")),
            release=str(told.get("release", "")),
        )
    except (ValueError, KeyError, TypeError, Refused):
        return None
