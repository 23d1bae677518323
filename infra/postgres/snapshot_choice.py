"""Which kind of snapshot a server allows for a database, and why not the others.

Invariant: a kind that is not chosen is named with its reason, so that a report says why an upgrade took as
long as it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg

from policy.errors import Refused
from policy.estate import DatabaseServer

Admin = psycopg.Connection[Any]

LOGGED_BELOW = 64 * 2**20
"""Smaller databases are copied through the log, which costs no checkpoint: a busy one takes long."""

_RDS = (".rds.amazonaws.com", ".rds.amazonaws.com.cn")


class Kind(StrEnum):
    """How a snapshot is taken."""

    TEMPLATE = "template"
    DUMP = "dump"
    PHYSICAL = "physical"
    RDS = "rds"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen for a database.

    Attributes:
        strategy: of a template copy: `file_copy` or `wal_log`.
        why_not: the reason for each kind that was not chosen.
    """

    kind: Kind
    strategy: str
    why_not: Mapping[str, str]


def choose(
    admin: Admin,
    server: DatabaseServer,
    database: str,
    *,
    size: int,
    wanted: str | None = None,
    room: int | None = None,
) -> Choice:
    """The kind of snapshot for `database`.

    Args:
        admin: a session of the databases' owner in another database of the server.
        server: where it lies.
        database: whose snapshot.
        size: its bytes.
        wanted: the kind that the estate asks for (`snapshot` among the web application's variables).
        room: the bytes that the server's disk can spare (`snapshot_room_gb` there); None means enough.

    Raises:
        Refused: the server does not allow the wanted kind, or none.
    """
    why_not: dict[str, str] = dict(_why_not(admin, server, database))
    if room is not None and size > room:
        why_not.setdefault(
            Kind.TEMPLATE, f"it has {size / 1e9:.1f} GB, and the server can spare {room / 1e9:.1f} GB"
        )
    if wanted is not None and wanted not in set(Kind):
        raise Refused(f"snapshot: '{wanted}' is unknown; use {Kind.TEMPLATE} or {Kind.DUMP}")
    order = [Kind.TEMPLATE, Kind.DUMP] if wanted is None else [Kind(wanted)]
    for kind in order:
        if kind in why_not:
            continue
        for other in Kind:
            if other is not kind and other not in why_not:
                why_not[other] = "the estate asks for another" if wanted else "a copy beside is quicker"
        strategy = "wal_log" if size < LOGGED_BELOW else "file_copy"
        return Choice(kind=kind, strategy=strategy, why_not=why_not)
    raise Refused(
        f"snapshot: no snapshot of '{database}' can be taken: "
        + "; ".join(f"{kind}: {why_not[kind]}" for kind in order)
    )


def _why_not(admin: Admin, server: DatabaseServer, database: str) -> Mapping[str, str]:
    row = admin.execute(
        "SELECT r.rolsuper OR (r.rolcreatedb AND pg_has_role(d.datdba, 'USAGE'))"
        " FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = %s",
        [database],
    ).fetchone()
    found: dict[str, str] = {
        Kind.PHYSICAL: "it would take back every database of the server, others' too",
        Kind.RDS: "AWS restores into a server with another address, which cannot be renamed into place"
        if server.host.endswith(_RDS)
        else "the server is not one of AWS",
    }
    if row is None or not row[0]:
        # A dump as well is put back by way of a new database.
        lacks = f"'{server.owner.user}' may not create databases, or does not own this one"
        found |= {Kind.TEMPLATE: lacks, Kind.DUMP: lacks}
    return found
