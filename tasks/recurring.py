"""Ask for the refreshes that come back, each date a week ahead; make, skip and end them.

Invariant: every date becomes one ordinary request, with the rights that its asker has by then. One that
cannot be asked for yet is tried again until its time has come, and its reason is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from infra.ledger import chores, installed, recurrences, requests
from infra.ledger.connection import Connection
from infra.ledger.recurrences import KeptDate, KeptRecurrence
from policy.errors import Refused
from policy.estate import Estate, Role
from policy.lifecycle import Event
from policy.maintenance_window import Weekday
from policy.names import SiteId
from policy.permissions import Action, Principal, principal_of, require
from policy.recurrence import Recurrence, Which
from policy.request import Status
from policy.submission import check_submission
from policy.wish import Wish
from tasks.change import change
from tasks.submit import submit
from tasks.view import iso
from tasks.world import World

EVERY = timedelta(minutes=1)

AHEAD = timedelta(days=7)
"""How long before a date its request is made, so that people are reminded of it like of every other."""

_WAITS = frozenset({Status.TO_BE_SCHEDULED, Status.SCHEDULED})


def ask_recurring(world: World) -> int:
    """Ask for the dates of the coming week, at most once a minute.

    Returns:
        How many requests were made.

    Raises:
        Unavailable: the ledger does not answer.
    """
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        if not chores.take(connection, "recurring", now=now, every=EVERY):
            return 0
        found = recurrences.every(connection)
    if not found:
        return 0
    estate = world.estate()
    return sum(_ask(world, estate, kept, now) for kept in found)


def add_recurring(
    world: World,
    who: Principal,
    site: SiteId,
    which: Which,
    day: Weekday,
    start: time,
    *,
    until: date | None = None,
) -> Recurrence:
    """Let the refresh of `site` come back, from the next such day on.

    Raises:
        Refused: `who` may not ask for it, or the site has one already.
    """
    estate, now = world.estate(), world.clock.now()
    wish = Wish(site=site, version=None, refresh=True)
    with world.ledger.transaction() as connection:
        findings = check_submission(estate, who, wish, installed.versions(connection), now)
        if findings:
            raise Refused(*findings)
        contact = estate.contacts.get(who.email)
        own = contact is not None and contact.role is Role.CONTACT
        zone = contact.zone if contact is not None and own else estate.customer(site.customer).zone
        today = now.astimezone(zone).date()
        made = Recurrence(
            site=site,
            asked_by=who.email,
            which=which,
            day=day,
            start=start,
            zone=zone,
            since=today,
            until=until,
        )
        if until is not None and next(made.dates(), None) is None:
            raise Refused(f"until: no such day comes before {until}; choose a later one")
        recurrences.add(connection, made, at=now)
        _note(connection, now, "recurrence_add", who, made)
    return made


def skip_recurring(world: World, who: Principal, site: SiteId, day: date) -> Recurrence:
    """Leave one date out; its request, if it was made already, is cancelled.

    Raises:
        Refused: no right to, no such date, or too many in a row.
    """
    estate, now = world.estate(), world.clock.now()
    require(who, Action.CANCEL, estate, site)
    with world.ledger.transaction() as connection:
        kept = recurrences.of_site(connection, site)
        without = kept.recurrence.skip(day, now)
        recurrences.skip(connection, kept.id, without)
        _note(connection, now, "recurrence_skip", who, without, day=day)
        made = recurrences.dates(connection, kept.id).get(day)
        if made is not None and made.request is not None:
            request = requests.get(connection, made.request, lock=True)
            if request.status in _WAITS:
                change(
                    world,
                    connection,
                    estate,
                    request.id,
                    Event.CANCEL,
                    at=now,
                    by=who.actor,
                    who=who.email,
                    reason=f"The recurring refresh of {day} is skipped.",
                )
    return without


def end_recurring(world: World, who: Principal, site: SiteId) -> Recurrence:
    """Let it not come back any more; a request that was made already stays.

    Raises:
        Refused: no right to, or there is none.
    """
    now = world.clock.now()
    require(who, Action.CANCEL, world.estate(), site)
    with world.ledger.transaction() as connection:
        kept = recurrences.of_site(connection, site)
        recurrences.end(connection, kept.id, at=now)
        _note(connection, now, "recurrence_end", who, kept.recurrence)
    return kept.recurrence


def recurring_view(world: World, who: Principal) -> list[dict[str, Any]]:
    """The recurrences that `who` may see, with their next dates and what became of the last ones."""
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        found = [(kept, recurrences.dates(connection, kept.id)) for kept in recurrences.every(connection)]
    return [
        _shown(kept.recurrence, dates, now)
        for kept, dates in found
        if who.speaks_for(kept.recurrence.site.customer)
    ]


def _shown(recurrence: Recurrence, dates: Mapping[date, KeptDate], now: datetime) -> dict[str, Any]:
    ahead = recurrence.due(now, now + timedelta(days=100))[:3]
    return {
        "customer": str(recurrence.site.customer),
        "site": recurrence.site.environment.value,
        "every": recurrence.sentence,
        "asked_by": str(recurrence.asked_by),
        "until": None if recurrence.until is None else recurrence.until.isoformat(),
        "skipped": [day.isoformat() for day in sorted(recurrence.skipped)],
        "next": [{"day": day.isoformat(), "start": iso(at)} for day, at in ahead],
        "dates": [
            {"day": day.isoformat(), "request": became.request, "reason": became.reason}
            for day, became in dates.items()
        ],
    }


def _ask(world: World, estate: Estate, kept: KeptRecurrence, now: datetime) -> int:
    made = 0
    with world.ledger.transaction() as connection:
        if not recurrences.hold(connection, kept.id):
            return 0
        known = recurrences.dates(connection, kept.id)
        for day, at in kept.recurrence.due(now, now + AHEAD):
            before = known.get(day)
            if before is not None and before.request is not None:
                continue
            became = _date(world, estate, kept, day, at)
            made += became.request is not None
            if became != before:
                recurrences.note(connection, kept.id, became)
            if became.reason and became != before:
                _note(
                    connection,
                    now,
                    "recurrence_refused",
                    None,
                    kept.recurrence,
                    day=day,
                    reason=became.reason,
                )
    return made


def _date(world: World, estate: Estate, kept: KeptRecurrence, day: date, at: datetime) -> KeptDate:
    recurrence = kept.recurrence
    # The digest finds the request of a date that was asked for before a crash.
    digest = hashlib.sha256(f"{kept.id}:{recurrence.key(day)}".encode()).hexdigest()
    wish = Wish(
        site=recurrence.site,
        version=None,
        refresh=True,
        at=at,
        message_digest=digest,
        note=f"Recurring: {recurrence.sentence}.",
    )
    try:
        request = submit(world, wish, principal_of(estate, recurrence.asked_by)).request
    except Refused as refused:
        return KeptDate(day=day, request=None, reason=" ".join(refused.findings))
    return KeptDate(day=day, request=request.id, reason="")


def _note(
    connection: Connection,
    now: datetime,
    verb: str,
    who: Principal | None,
    recurrence: Recurrence,
    *,
    day: date | None = None,
    reason: str = "",
) -> None:
    requests.write_event(
        connection,
        at=now,
        verb=verb,
        actor="dispatch" if who is None else str(who.email),
        reason=reason or recurrence.sentence,
        detail={"site": str(recurrence.site), "day": None if day is None else day.isoformat()},
    )
