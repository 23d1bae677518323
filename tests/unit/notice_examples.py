"""One notice of each kind, made the way that the flows make them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from infra.notice_text import notice_text
from policy.campaign import Campaign, Member, Progress
from policy.campaign_notice import campaign_notices
from policy.lifecycle import Event
from policy.names import CustomerName, GroupName, RequestId, Version
from policy.notice import Notice, NoticeKind
from policy.notices import Change, notices_for
from policy.reminders import digests, reminders_due, undo_expiring
from policy.request import Outcome, Request, Status
from tests.unit.notice_estate import ENGINEER, HARBOR, NOW, ON_CALL, estate, request, upgrade

ESTATE = estate()


def change(event: Event | None, after: Request, before: Request | None = None, **known: object) -> Change:
    defaults: dict[str, object] = {"number": 317, "at": NOW}
    return Change(event=event, before=before, after=after, **(defaults | known))  # type: ignore[arg-type]  # any field


def told(
    event: Event | None, after: Request, before: Request | None = None, **known: object
) -> tuple[Notice, ...]:
    return notices_for(change(event, after, before, **known), estate=ESTATE, on_call=ON_CALL, webhook=True)


def body(notice: Notice) -> str:
    return notice_text(notice.kind, notice.values).body


def all_notices() -> list[Notice]:
    """One of each kind, made the way that the flows make them."""
    waiting = request(status=Status.TO_BE_SCHEDULED, scheduled_for=None)
    running = upgrade(status=Status.IN_PROGRESS)
    later = request(scheduled_for=NOW + timedelta(days=8))
    return [
        *told(None, waiting),
        *told(Event.SCHEDULE, request(), waiting, expected=timedelta(minutes=12)),
        *told(Event.UNSCHEDULE, waiting, request()),
        *told(Event.MOVE, later, request()),
        *told(Event.BEGIN, running, upgrade(status=Status.NOT_STARTED)),
        *told(Event.RELEASE, upgrade(), running),
        *told(
            Event.COMPLETE,
            upgrade(status=Status.COMPLETED, outcome=Outcome.DONE),
            running,
            took=timedelta(seconds=34.2),
            downtime=timedelta(seconds=9.8),
        ),
        *told(Event.PUT_BACK, upgrade(status=Status.UNABLE_TO_COMPLETE, outcome=Outcome.PUT_BACK), running),
        *told(
            Event.STICK,
            upgrade(status=Status.UNABLE_TO_COMPLETE, outcome=Outcome.STUCK),
            running,
            run="r43a1",
        ),
        *told(Event.CLEAR, upgrade(status=Status.UNABLE_TO_COMPLETE, outcome=Outcome.PUT_BACK), running),
        *told(Event.ASK, request(status=Status.PENDING_INPUT), request(), question="Which one?\nA or B?"),
        *told(Event.ANSWER, waiting, request(status=Status.PENDING_INPUT), answer="B"),
        *told(Event.DEFER, request(status=Status.DEFERRED, scheduled_for=None), request()),
        *told(Event.RESUME, waiting, request(status=Status.DEFERRED)),
        *told(Event.RETRY, waiting, request(outcome=Outcome.PUT_BACK)),
        *told(Event.SUPERSEDE, upgrade(outcome=Outcome.SUPERSEDED), upgrade(), newer=RequestId("R44")),
        *told(Event.CANCEL, request(outcome=Outcome.CANCELLED), request()),
        *told(Event.EXPIRE, request(outcome=Outcome.EXPIRED), request()),
        *reminders_due(request(), estate=ESTATE, now=request_start() - timedelta(hours=20)),
        *reminders_due(upgrade(), estate=ESTATE, now=request_start() - timedelta(minutes=20)),
        *undo_expiring(
            request(outcome=Outcome.DONE), estate=ESTATE, now=NOW, undo_until=NOW + timedelta(hours=3)
        ),
        *digests([request(), upgrade(outcome=Outcome.DONE)], estate=ESTATE, now=NOW + timedelta(days=7)),
        *campaign_notices(campaign(), estate=ESTATE, now=NOW, to=(ON_CALL, ENGINEER), webhook=True),
    ]


def campaign() -> Campaign:
    """A group's upgrade whose canary failed."""
    members = [
        Member(customer=HARBOR, ring=0, progress=Progress.PUT_BACK, request=RequestId("R43"), ended_at=NOW),
        Member(customer=CustomerName("cove"), ring=1),
    ]
    return Campaign(
        name="coast-26.5.0",
        group=GroupName("coast"),
        version=Version("26.5.0"),
        members=tuple(members),
        soak=timedelta(hours=24),
        parallel=2,
    )


def request_start() -> datetime:
    start = request().scheduled_for
    assert start is not None
    return start


EXAMPLES: Mapping[NoticeKind, Notice] = {notice.kind: notice for notice in all_notices()}
