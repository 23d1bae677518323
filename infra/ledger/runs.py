"""Runs and their journal: the intent before an act, the outcome after it.

Invariant: a journal entry is written only by the holder of the newest epoch, in one statement with its proof.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from infra.ledger.connection import Connection, Row
from policy.errors import Busy
from policy.journal import Direction, Entry, EntryState
from policy.names import DatabaseName, RequestId, RunId, ServerName


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a request, as the ledger holds it.

    Attributes:
        state: `live`, `ended` or `stuck`; all but `ended` lock the web application.
        cause: why it turned back, in plain words.
    """

    id: RunId
    webapp: str
    direction: Direction
    state: str
    cause: str | None
    started_at: datetime
    ended_at: datetime | None


def _run(row: Row) -> Run:
    cell: dict[str, Any] = dict(row)
    return Run(
        id=RunId(cell["id"]),
        webapp=cell["webapp"],
        direction=Direction(cell["direction"]),
        state=cell["state"],
        cause=cell["cause"],
        started_at=cell["started_at"],
        ended_at=cell["ended_at"],
    )


def begin(
    connection: Connection, *, run: RunId, webapp: str, databases: Sequence[tuple[ServerName, DatabaseName]]
) -> None:
    """Write a new live run.

    Raises:
        Busy: the web application or one of the databases already has a live run.
    """
    try:
        connection.execute(
            "insert into run (id, request, attempt, webapp) values (%s, %s, %s, %s)",
            (run, run.request.number, run.attempt, webapp),
        )
        for server, database in databases:
            connection.execute(
                "insert into run_database (run, server, database) values (%s, %s, %s)",
                (run, server, database),
            )
    except psycopg.errors.UniqueViolation as error:
        raise Busy(f"run {run}: another run works on {webapp} or its database; it is tried again") from error


def live(connection: Connection, request: RequestId) -> Run | None:
    """The run of `request` that has not ended, if any."""
    row = connection.execute(
        "select * from run where request = %s and state <> 'ended'", (request.number,)
    ).fetchone()
    return None if row is None else _run(row)


def last(connection: Connection, request: RequestId) -> Run | None:
    """The newest run of `request`."""
    row = connection.execute(
        "select * from run where request = %s order by attempt desc limit 1", (request.number,)
    ).fetchone()
    return None if row is None else _run(row)


def abandoned(connection: Connection, lease_seconds: int) -> list[Run]:
    """Live runs whose lease was not renewed for `lease_seconds`: their worker is dead or frozen."""
    rows = connection.execute(
        "select run.* from run left join lease on lease.webapp = run.webapp and lease.run = run.id"
        " where run.state = 'live'"
        " and coalesce(lease.renewed_at, run.started_at) < now() - make_interval(secs => %s) order by run.id",
        (lease_seconds,),
    ).fetchall()
    return [_run(row) for row in rows]


def report(connection: Connection, run: RunId) -> str | None:
    """The report of `run` as Markdown, once it has ended."""
    row = connection.execute("select report from run where id = %s", (run,)).fetchone()
    return None if row is None or row["report"] is None else str(row["report"])


def busy_webapps(connection: Connection) -> frozenset[str]:
    """The web applications that have a live or stuck run."""
    rows = connection.execute("select webapp from run where state <> 'ended'").fetchall()
    return frozenset(str(row["webapp"]) for row in rows)


def turn_back(connection: Connection, run: RunId, cause: str) -> None:
    """From now on `run` only takes back what it did; a second worker sees it too."""
    connection.execute(
        "update run set direction = 'back', cause = coalesce(cause, %s) where id = %s and state = 'live'",
        (cause, run),
    )


def end(connection: Connection, run: RunId, *, stuck: bool, report: str) -> None:
    """Close `run`; a stuck one keeps its web application and databases locked."""
    if stuck:
        connection.execute("update run set state = 'stuck', report = %s where id = %s", (report, run))
        return
    connection.execute(
        "update run set state = 'ended', ended_at = now(), report = %s where id = %s and state <> 'ended'",
        (report, run),
    )
    connection.execute("update run_database set live = false where run = %s", (run,))


def unlock(connection: Connection, request: RequestId) -> None:
    """A person has mended what the stuck run of `request` left; its web application is free again."""
    connection.execute(
        "with unlocked as (update run set state = 'ended', ended_at = now()"
        " where request = %s and state = 'stuck' returning id)"
        " update run_database set live = false where run in (select id from unlocked)",
        (request.number,),
    )


def journal(connection: Connection, run: RunId) -> tuple[Entry, ...]:
    """The steps of `run` that were begun, in order."""
    rows = connection.execute("select * from step where run = %s order by position", (run,)).fetchall()
    entries = []
    for row in rows:
        cell: dict[str, Any] = dict(row)
        entries.append(
            Entry(
                step=cell["name"],
                state=EntryState(cell["state"]),
                facts=cell["facts"],
                error=cell["error"],
                seconds=cell["seconds"],
                undo_seconds=cell["undo_seconds"],
                started_at=cell["started_at"],
            )
        )
    return tuple(entries)


def intend(connection: Connection, run: RunId, step: str, position: int, epoch: int) -> None:
    """Write that `step` is about to act."""
    connection.execute(
        "insert into step (run, name, position, state, epoch) values (%s, %s, %s, 'intended', %s)"
        " on conflict (run, name)"
        " do update set state = 'intended', epoch = excluded.epoch, started_at = now()",
        (run, step, position, epoch),
    )


def look_again(connection: Connection, run: RunId, step: str, *, unless_begun: Sequence[str]) -> None:
    """Let `step` look anew, unless one of `unless_begun` has begun or the run goes back."""
    connection.execute(
        "update step set state = 'intended' where run = %(run)s and name = %(step)s and state = 'done'"
        " and not exists (select from step where run = %(run)s and name = any(%(begun)s))"
        " and exists (select from run where id = %(run)s and direction = 'forward')",
        {"run": run, "step": step, "begun": list(unless_begun)},
    )


def outcome(
    connection: Connection,
    run: RunId,
    step: str,
    *,
    state: EntryState,
    epoch: int,
    facts: Mapping[str, object] | None = None,
    error: str | None = None,
    seconds: float | None = None,
    undo_seconds: float | None = None,
) -> None:
    """Write how `step` went; what is None stays as it was."""
    connection.execute(
        "update step set state = %(state)s, epoch = %(epoch)s, ended_at = now(),"
        " facts = coalesce(%(facts)s::jsonb, facts), error = coalesce(%(error)s, error),"
        " seconds = coalesce(%(seconds)s, seconds), undo_seconds = coalesce(%(undo_seconds)s, undo_seconds)"
        " where run = %(run)s and name = %(step)s",
        {
            "state": state.value,
            "epoch": epoch,
            "facts": None if facts is None else json.dumps(facts),
            "error": error,
            "seconds": seconds,
            "undo_seconds": undo_seconds,
            "run": run,
            "step": step,
        },
    )


def observe(
    connection: Connection,
    run: RunId,
    *,
    customer: str,
    environment: str,
    kind: str,
    seconds: Mapping[str, float],
) -> None:
    """Keep how long each step took, for the planner."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into observation (run, customer, environment, kind, step, seconds)"
            " values (%s, %s, %s, %s, %s, %s)",
            [(run, customer, environment, kind, step, took) for step, took in seconds.items()],
        )
