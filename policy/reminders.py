"""What is told because time passes: reminders, the notice to log out, the end of an undo period, the digest.

Invariant: the keys follow from the date that is reminded of, so asking again (or by two workers) gives the
same notices, and a moved date gives new ones. Nothing is sent late in a heap: of several that became due,
only the one nearest to the start is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from policy.estate import Contact, Estate, Role
from policy.local_time import resolve
from policy.names import CustomerName, GroupName
from policy.notice import Channel, Notice, NoticeKind, Value, key_of
from policy.notice_words import (
    AS_SOON_AS_IT_FITS,
    estate_token,
    length_words,
    request_values,
    site_words,
    thread_of,
    when_words,
    work_words,
)
from policy.notices import recipients
from policy.request import Request, Status

REMIND_BEFORE = (timedelta(days=6), timedelta(hours=24))
LOG_OUT_BEFORE = timedelta(minutes=30)
UNDO_WARNING = timedelta(hours=24)
DIGEST_HOUR = 7
"""On Monday not before this hour of the recipient's morning."""
DIGEST_LINES = 100


@dataclass(frozen=True, kw_only=True)
class _Due:
    kind: NoticeKind
    before: timedelta
    mark: str


def reminders_due(
    request: Request,
    *,
    estate: Estate,
    now: datetime,
    told_at: datetime | None = None,
    expected: timedelta | None = None,
    remind_before: Sequence[timedelta] = REMIND_BEFORE,
    log_out_before: timedelta = LOG_OUT_BEFORE,
) -> tuple[Notice, ...]:
    """The reminders of a scheduled request that are due at `now`; the outbox drops those it already holds.

    Args:
        request: any; only one that is Scheduled and not past its start is reminded of.
        estate: who is told.
        now: the present instant.
        told_at: when its present date was told; a reminder that was due before that is not sent.
        expected: how long the work is expected to take.
        remind_before: how long before the start people are reminded.
        log_out_before: how long before the start they are asked to log out.
    """
    start = request.scheduled_for
    if request.status is not Status.SCHEDULED or start is None or now >= start:
        return ()
    moments = [_Due(kind=NoticeKind.LOG_OUT, before=log_out_before, mark="log-out")]
    moments += [
        _Due(kind=NoticeKind.REMINDER, before=before, mark=f"remind-{int(before.total_seconds() // 3600)}h")
        for before in remind_before
    ]
    passed = [moment for moment in moments if start - moment.before <= now]
    if not passed:
        return ()
    nearest = min(passed, key=lambda moment: moment.before)
    # The notice to log out is sent even when the date itself was told a minute ago: it asks for something.
    if nearest.kind is NoticeKind.REMINDER and told_at is not None and told_at >= start - nearest.before:
        return ()
    return _to_all(
        request,
        estate,
        nearest.kind,
        f"{nearest.mark}-{start:%Y%m%dT%H%MZ}",
        {"expected": length_words(expected), "left": length_words(start - now)},
    )


def undo_expiring(
    request: Request,
    *,
    estate: Estate,
    now: datetime,
    undo_until: datetime,
    warning: timedelta = UNDO_WARNING,
) -> tuple[Notice, ...]:
    """The warning that a finished refresh can soon no longer be undone, when it is due at `now`."""
    if not undo_until - warning <= now < undo_until:
        return ()
    mark = f"undo-{undo_until:%Y%m%dT%H%MZ}"
    told = recipients(estate, request.site.customer, request.asked_by)
    return tuple(
        _notice(
            request,
            estate,
            contact,
            NoticeKind.UNDO_EXPIRING,
            mark,
            {"undo_until": when_words(undo_until, contact.zone)},
        )
        for contact in told
    )


def digests(requests: Iterable[Request], *, estate: Estate, now: datetime) -> tuple[Notice, ...]:
    """The week's digest: one for each contact whose customers have requests, from Monday morning on.

    Its key names the ISO week, so that the outbox keeps only the first of a week. What was asked for since
    Monday is not in it: a first request on a Wednesday is answered by its own mails, not by a digest.

    Args:
        requests: the open ones, and those that ended in the last week.
        estate: who is told of which customers.
        now: the present instant.
    """
    by_customer: dict[CustomerName, list[Request]] = {}
    for request in requests:
        by_customer.setdefault(request.site.customer, []).append(request)
    members: dict[GroupName, set[CustomerName]] = {}
    for customer in estate.customers.values():
        if customer.group is not None:
            members.setdefault(customer.group, set()).add(customer.name)
    found: list[Notice] = []
    for contact in sorted(estate.contacts.values(), key=lambda contact: contact.email):
        monday = _monday(now, contact.zone)
        if contact.role is not Role.CONTACT or now < monday:
            continue
        customers = contact.customers.union(*(members.get(group, ()) for group in contact.groups))
        theirs = [
            request
            for customer in sorted(customers)
            for request in by_customer.get(customer, ())
            if request.asked_at < monday
        ]
        if theirs:
            found.append(_digest(contact, theirs, estate, now))
    return tuple(found)


def _monday(now: datetime, zone: ZoneInfo) -> datetime:
    """When the digest of the present week is due in `zone`."""
    today = now.astimezone(zone).date()
    return resolve(datetime.combine(today - timedelta(days=today.weekday()), time(DIGEST_HOUR)), zone)


def _digest(contact: Contact, requests: Sequence[Request], estate: Estate, now: datetime) -> Notice:
    year, week, _ = now.astimezone(contact.zone).isocalendar()
    thread = f"{estate_token(estate)}.digest"
    coming = sorted(
        (request for request in requests if request.outcome is None),
        key=lambda request: (request.scheduled_for or datetime.max.replace(tzinfo=UTC), request.id.number),
    )
    ended = sorted(
        (request for request in requests if request.outcome), key=lambda request: request.id.number
    )
    values: dict[str, Value] = {
        "subject": f"Updates in week {week} of {year}",
        "zone": contact.zone.key,
        "coming": _lines(coming, estate, contact),
        "ended": _lines(ended, estate, contact),
    }
    return Notice(
        kind=NoticeKind.DIGEST,
        channel=Channel.MAIL,
        key=key_of(
            thread=thread,
            mark=f"{year}-W{week:02d}",
            kind=NoticeKind.DIGEST,
            to=contact.email,
            channel=Channel.MAIL,
        ),
        thread=thread,
        to=contact.email,
        name=contact.name,
        values=values,
    )


def _lines(requests: Sequence[Request], estate: Estate, contact: Contact) -> tuple[str, ...]:
    lines = [_line(request, estate, contact) for request in requests[:DIGEST_LINES]]
    more = len(requests) - DIGEST_LINES
    return (*lines, f"and {more} more") if more > 0 else tuple(lines)


def _line(request: Request, estate: Estate, contact: Contact) -> str:
    what = f"{request.id} {site_words(estate, request.site)}: {work_words(request)}: {request.status.value}"
    if request.outcome is not None:
        return f"{what} ({request.outcome.value.replace('_', ' ')})"
    when = when_words(request.scheduled_for, contact.zone)
    return what if when == AS_SOON_AS_IT_FITS else f"{what}, {when}"


def _to_all(
    request: Request, estate: Estate, kind: NoticeKind, mark: str, values: dict[str, Value]
) -> tuple[Notice, ...]:
    told = recipients(estate, request.site.customer, request.asked_by)
    return tuple(_notice(request, estate, contact, kind, mark, values) for contact in told)


def _notice(
    request: Request, estate: Estate, contact: Contact, kind: NoticeKind, mark: str, values: dict[str, Value]
) -> Notice:
    thread = thread_of(estate, request)
    return Notice(
        kind=kind,
        channel=Channel.MAIL,
        key=key_of(thread=thread, mark=mark, kind=kind, to=contact.email, channel=Channel.MAIL),
        thread=thread,
        to=contact.email,
        name=contact.name,
        values=request_values(estate, request, contact.zone) | values,
    )
