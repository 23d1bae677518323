"""Remind: put into the outbox what becomes due because time passes.

Invariant: the keys of these notices follow from the date that they are about, so that any number of workers,
asking as often as they like, tell everybody once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from infra.ledger import chores, outbox, upcoming
from infra.ledger.connection import Connection
from policy.estate import Estate
from policy.names import RequestId
from policy.notice import Notice
from policy.reminders import UNDO_WARNING, digests, reminders_due, undo_expiring
from tasks.world import World

EVERY = timedelta(minutes=1)
DIGEST_EVERY = timedelta(minutes=10)
WEEK = timedelta(days=7)


def remind(world: World) -> int:
    """One round, at most once a minute.

    Returns:
        How many notices were written.

    Raises:
        Unavailable: the ledger does not answer.
    """
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        if not chores.take(connection, "remind", now=now, every=EVERY):
            return 0
    estate = world.estate()
    with world.ledger.transaction() as connection:
        due = [*_dates(world, connection, estate, now), *_undo_periods(connection, estate, now)]
        if chores.take(connection, "digest", now=now, every=DIGEST_EVERY):
            week = upcoming.of_the_week(connection, since=now - WEEK)
            due += [(None, notice) for notice in digests(week, estate=estate, now=now)]
        return _put(connection, due)


def _dates(
    world: World, connection: Connection, estate: Estate, now: datetime
) -> list[tuple[RequestId | None, Notice]]:
    before = [timedelta(hours=hours) for hours in world.settings.remind_hours]
    log_out = timedelta(minutes=world.settings.log_out_minutes)
    return [
        (dated.request.id, notice)
        for dated in upcoming.dates(connection, after=now, until=now + max([log_out, *before]))
        for notice in reminders_due(
            dated.request,
            estate=estate,
            now=now,
            told_at=dated.told_at,
            expected=dated.expected,
            remind_before=before,
            log_out_before=log_out,
        )
    ]


def _undo_periods(
    connection: Connection, estate: Estate, now: datetime
) -> list[tuple[RequestId | None, Notice]]:
    if estate.undo <= UNDO_WARNING:
        return []  # The mail that told the end has just said so.
    ends_soon = now - estate.undo
    return [
        (done.request.id, notice)
        for done in upcoming.undoable(connection, after=ends_soon, until=ends_soon + UNDO_WARNING)
        for notice in undo_expiring(
            done.request, estate=estate, now=now, undo_until=done.ended_at + estate.undo
        )
    ]


def _put(connection: Connection, due: list[tuple[RequestId | None, Notice]]) -> int:
    new = upcoming.unknown(connection, [notice.key for _, notice in due])
    for request, notice in due:
        if notice.key in new:
            outbox.put(
                connection,
                channel=notice.channel.value,
                key=notice.key,
                request=request,
                payload=notice.payload(),
            )
    return len(new)
