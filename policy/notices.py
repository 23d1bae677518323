"""Which change of a request is told, to whom, and with which facts.

Invariant: every change that concerns a contact is told, and every ended one with the next step; a change that
only concerns the machinery (a run pulled from the queue, a move to the same date) is not. Recipients are the
contacts of the customer and of its group, and whoever asked; a stuck site is told to on-call as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

from policy.errors import Refused
from policy.estate import Contact, Estate, Role
from policy.lifecycle import Event
from policy.names import CustomerName, EmailAddress, RequestId
from policy.notice import Channel, Invite, Notice, NoticeKind, Value, key_of
from policy.notice_words import length_words, request_values, thread_of, when_words, work_words
from policy.request import Kind, Outcome, Request, Status

USUAL_LENGTH = timedelta(minutes=30)
"""Shown in calendars when nothing is known about how long such work takes."""

UTC_ZONE = ZoneInfo("UTC")

_KINDS: Mapping[Event | None, NoticeKind] = MappingProxyType(
    {
        None: NoticeKind.ACCEPTED,
        Event.SCHEDULE: NoticeKind.SCHEDULED,
        Event.UNSCHEDULE: NoticeKind.UNSCHEDULED,
        Event.MOVE: NoticeKind.MOVED,
        Event.CANCEL: NoticeKind.CANCELLED,
        Event.SUPERSEDE: NoticeKind.SUPERSEDED,
        Event.DEFER: NoticeKind.DEFERRED,
        Event.RESUME: NoticeKind.RESUMED,
        Event.ASK: NoticeKind.QUESTION,
        Event.ANSWER: NoticeKind.ANSWERED,
        Event.BEGIN: NoticeKind.STARTED,
        Event.RELEASE: NoticeKind.RELEASED,
        Event.COMPLETE: NoticeKind.COMPLETED,
        Event.PUT_BACK: NoticeKind.PUT_BACK,
        Event.STICK: NoticeKind.STUCK,
        Event.EXPIRE: NoticeKind.EXPIRED,
        Event.CLEAR: NoticeKind.CLEARED,
        Event.CONFIRM: NoticeKind.COMPLETED,
        Event.RETRY: NoticeKind.RETRIED,
    }
)
NOT_TOLD = frozenset({Event.PULL})
"""Events that concern the machinery only; every other one has a notice."""

_WITH_DATE = frozenset({NoticeKind.SCHEDULED, NoticeKind.MOVED, NoticeKind.RELEASED})
_ENDS_THE_DATE = frozenset(
    {
        NoticeKind.UNSCHEDULED,
        NoticeKind.MOVED,
        NoticeKind.CANCELLED,
        NoticeKind.SUPERSEDED,
        NoticeKind.DEFERRED,
        NoticeKind.QUESTION,
        NoticeKind.EXPIRED,
    }
)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happened to a request, and what is known about it.

    Attributes:
        event: the lifecycle's verb; None when the request was just accepted.
        number: of the event in the ledger; grows with every change.
        before: the request before the change; None when it was just accepted.
        expected: how long the work is expected to take.
        took: how long it took.
        downtime: how long users could not work.
        question: what was asked of the customer.
        answer: what the customer said.
        newer: the request under which a superseded one is done.
        run: the run that failed, for on-call.
        undo_until: until when a finished refresh can be undone; by default the estate's period from now on.
    """

    event: Event | None
    number: int
    at: datetime
    before: Request | None
    after: Request
    expected: timedelta | None = None
    took: timedelta | None = None
    downtime: timedelta | None = None
    question: str = ""
    answer: str = ""
    newer: RequestId | None = None
    run: str = ""
    undo_until: datetime | None = None


def recipients(estate: Estate, customer: CustomerName, asked_by: EmailAddress | None) -> tuple[Contact, ...]:
    """Who is told about `customer`, in the order of their addresses, each once."""
    home = estate.customers.get(customer)
    group = None if home is None else home.group
    told = {
        contact.email.lower(): contact
        for contact in estate.contacts.values()
        if contact.role is Role.CONTACT
        and (customer in contact.customers or (group is not None and group in contact.groups))
    }
    if asked_by is not None and asked_by.lower() not in told:
        known = estate.contacts.get(asked_by)
        told[asked_by.lower()] = known or Contact(
            email=asked_by, name="", zone=UTC_ZONE if home is None else home.zone, role=Role.CONTACT
        )
    return tuple(told[email] for email in sorted(told))


def notices_for(
    change: Change, *, estate: Estate, on_call: EmailAddress | None = None, webhook: bool = False
) -> tuple[Notice, ...]:
    """Everything that has to be told about `change`.

    Args:
        change: what happened.
        estate: who is concerned, and in which zone each of them lives.
        on_call: who is called when a site is stuck, and told when it is free again.
        webhook: on-call also has a channel, which is told the same.
    """
    kind = notice_kind(change)
    if kind is None:
        return ()
    mark = f"e{change.number}"
    # Whoever runs a group's upgrade is told about it as a whole, not about each of a hundred customers.
    asked_by = None if change.after.campaign else change.after.asked_by
    told = recipients(estate, change.after.site.customer, asked_by)
    notices = [_notice(kind, Channel.MAIL, contact, change, estate, mark) for contact in told]
    if kind in {NoticeKind.STUCK, NoticeKind.CLEARED} and on_call is not None:
        team = Contact(email=on_call, name="On call", zone=UTC_ZONE, role=Role.ENGINEER)
        called = NoticeKind.STUCK_ON_CALL if kind is NoticeKind.STUCK else NoticeKind.CLEARED
        if on_call.lower() not in {contact.email.lower() for contact in told}:
            notices.append(_notice(called, Channel.MAIL, team, change, estate, mark))
        if webhook:
            notices.append(_notice(called, Channel.WEBHOOK, team, change, estate, mark))
    return tuple(notices)


def notice_kind(change: Change) -> NoticeKind | None:
    """What kind of news `change` is, or None when it concerns the machinery only."""
    if change.event in NOT_TOLD:
        return None
    before, after = change.before, change.after
    if before is not None and change.event in {Event.MOVE, Event.RELEASE}:
        same = (before.scheduled_for, before.not_before) == (after.scheduled_for, after.not_before)
        # Nobody was told that a pulled run was about to begin, so its return to the same date is no news.
        if same and before.status is not Status.IN_PROGRESS:
            return None
    if change.event is Event.SCHEDULE and before is not None and before.scheduled_for is not None:
        return NoticeKind.SCHEDULED if before.scheduled_for == after.scheduled_for else NoticeKind.MOVED
    return _KINDS[change.event]


def _notice(
    kind: NoticeKind, channel: Channel, contact: Contact, change: Change, estate: Estate, mark: str
) -> Notice:
    thread = thread_of(estate, change.after)
    return Notice(
        kind=kind,
        channel=channel,
        key=key_of(thread=thread, mark=mark, kind=kind, to=contact.email, channel=channel),
        thread=thread,
        to=contact.email,
        name=contact.name,
        values=request_values(estate, change.after, contact.zone) | _facts(change, estate, contact.zone),
        invite=_invite(kind, change, estate) if channel is Channel.MAIL else None,
    )


def _facts(change: Change, estate: Estate, zone: ZoneInfo) -> dict[str, Value]:
    before, after = change.before, change.after
    undo_until = change.undo_until
    if undo_until is None and after.outcome is Outcome.DONE and after.kind is Kind.REFRESH:
        undo_until = change.at + estate.undo
    had_date = before is not None and before.scheduled_for is not None
    return {
        "at": when_words(change.at, zone),
        "had_date": had_date,
        "old_start": when_words(before.scheduled_for, zone) if before is not None and had_date else "",
        "expected": length_words(change.expected),
        "took": length_words(change.took),
        "downtime": length_words(change.downtime),
        "question": change.question,
        "answer": change.answer,
        "newer": "" if change.newer is None else str(change.newer),
        "run": change.run,
        "follow_up": _follow_up(estate, after),
        "undo_until": "" if undo_until is None else when_words(undo_until, zone),
        "by_hand": change.event is Event.CONFIRM,
    }


def _follow_up(estate: Estate, request: Request) -> str:
    if request.kind is not Kind.UPGRADE or request.version is None:
        return ""
    try:
        return estate.release(estate.webapp(request.site).application, request.version).follow_up
    except Refused:
        # A release or site may leave the estate while a request for it ends; the end is told all the same.
        return ""


def _invite(kind: NoticeKind, change: Change, estate: Estate) -> Invite | None:
    """The calendar entry: made with a date, updated with it, and removed when the date falls away."""
    before, after = change.before, change.after
    had = None if before is None else before.scheduled_for
    if kind in _WITH_DATE and after.scheduled_for is not None:
        start, cancelled = after.scheduled_for, False
    elif had is not None and kind in _ENDS_THE_DATE:
        start, cancelled = had, True
    else:
        return None
    values = request_values(estate, after, UTC_ZONE)
    return Invite(
        uid=thread_of(estate, after),
        sequence=change.number,
        cancelled=cancelled,
        start=start,
        end=start + (change.expected or USUAL_LENGTH),
        stamp=change.at,
        summary=f"{values['sites']}: {work_words(after)}",
        description=f"Update request {after.id}. The mail that came with this entry says what to expect.",
        location=str(values["url"]),
    )
