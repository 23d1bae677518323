"""The pause switch: all, one group, one customer or one server, each with a reason that is shown everywhere.

Invariant: a pause holds back what has not begun; what has begun is brought to its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import policy.pause
from infra.ledger.connection import Connection
from policy.errors import Refused
from policy.estate import Estate
from policy.names import SiteId
from policy.pause import Pause, scopes_of


def scope_of(estate: Estate, text: str) -> str:
    """Check a scope that somebody typed.

    Raises:
        Refused: it is not one of the four forms, or names what the estate does not have.
    """
    kind, _, name = text.partition(":")
    known: dict[str, Iterable[str]] = {
        "group": estate.groups,
        "customer": estate.customers,
        "server": estate.servers,
    }
    if text == "all" or (kind in known and name in known[kind]):
        return text
    raise Refused(
        "scope: write all, group:NAME, customer:NAME or server:NAME, with a name that the estate declares"
    )


def pause(connection: Connection, held: Pause) -> None:
    """Hold back what the scope covers; a second pause of the same scope replaces the first."""
    connection.execute(
        "insert into pause (scope, reason, by, at, until) values (%s, %s, %s, %s, %s)"
        " on conflict (scope) do update set reason = excluded.reason, by = excluded.by, at = excluded.at,"
        " until = excluded.until",
        (held.scope, held.reason, held.by, held.at, held.until),
    )


def resume(connection: Connection, *, scope: str) -> bool:
    """Lift the pause of `scope`; False when there was none."""
    return connection.execute("delete from pause where scope = %s", (scope,)).rowcount == 1


def every(connection: Connection) -> list[Pause]:
    """All pauses that were set and not lifted; whether one still holds says `Pause.holds`."""
    rows = connection.execute("select scope, reason, by, at, until from pause order by scope").fetchall()
    found = []
    for row in rows:
        cell: dict[str, Any] = dict(row)
        found.append(Pause(**cell))
    return found


def applying(connection: Connection, estate: Estate, site: SiteId, now: datetime) -> Pause | None:
    """The pause that holds `site` back, if any."""
    return policy.pause.applying(every(connection), scopes_of(estate, site), now)
