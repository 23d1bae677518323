"""What people were promised about when their work will be done, and by how much that was missed.

Invariant: the first promise counts: Freshet moving the date does not make it any less broken. Only when a
person changes the date or stops the request does a new promise take its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.ledger.connection import Connection
from policy.names import RequestId


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A promise as it was told.

    Attributes:
        start: the date that was told with it.
        low: done not before this, if everything goes as usual.
        high: done by this, nine times out of ten.
        moves: how often Freshet moved the date afterwards.
        ended_at: when the work was done, once it is.
        error_s: seconds after `high`, or before `low` (then negative); 0 in between.
    """

    told_at: datetime
    start: datetime
    low: datetime
    high: datetime
    moves: int
    ended_at: datetime | None
    error_s: float | None


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How well past promises were kept: absolute errors in minutes.

    Attributes:
        kept_share: how many of a hundred ended within what was told.
    """

    promises: int
    median_min: float | None
    p90_min: float | None
    kept_share: float | None


def promise(
    connection: Connection,
    request: RequestId,
    *,
    told_at: datetime,
    start: datetime,
    low: datetime,
    high: datetime,
) -> None:
    """Note what was promised for `request`; while an earlier promise is open it counts as a move."""
    connection.execute(
        "insert into eta (request, told_at, start, low, high) values (%s, %s, %s, %s, %s)"
        " on conflict (request) where ended_at is null do update set moves = eta.moves + 1",
        (request.number, told_at, start, low, high),
    )


def forget(connection: Connection, request: RequestId) -> None:
    """A person changed what was promised for `request`."""
    connection.execute("delete from eta where request = %s and ended_at is null", (request.number,))


def settle(connection: Connection, request: RequestId, *, at: datetime) -> None:
    """The work of `request` was done `at`."""
    connection.execute(
        "update eta set ended_at = %(at)s, error_s = extract(epoch from case"
        " when %(at)s > high then %(at)s - high when %(at)s < low then %(at)s - low else interval '0' end)"
        " where request = %(request)s and ended_at is null",
        {"request": request.number, "at": at},
    )


def latest(connection: Connection, request: RequestId) -> Promise | None:
    """The newest promise for `request`."""
    row = connection.execute(
        "select told_at, start, low, high, moves, ended_at, error_s from eta where request = %s"
        " order by id desc limit 1",
        (request.number,),
    ).fetchone()
    if row is None:
        return None
    cell: dict[str, Any] = dict(row)
    return Promise(**cell)


def accuracy(connection: Connection, *, last: int = 1000) -> Accuracy:
    """How well the `last` promises were kept that have come to their end."""
    row = connection.execute(
        "select count(*) as n, percentile_cont(0.5) within group (order by abs(error_s)) / 60 as median,"
        " percentile_cont(0.9) within group (order by abs(error_s)) / 60 as p90,"
        " avg((error_s = 0)::int)::double precision * 100 as kept"
        " from (select error_s from eta where ended_at is not null order by id desc limit %s) as recent",
        (last,),
    ).fetchone()
    cell: dict[str, Any] = dict(row or {"n": 0, "median": None, "p90": None, "kept": None})
    return Accuracy(
        promises=cell["n"],
        median_min=_rounded(cell["median"]),
        p90_min=_rounded(cell["p90"]),
        kept_share=_rounded(cell["kept"]),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
