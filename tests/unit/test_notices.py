"""Who is told what: recipients, zones, threads and calendar entries."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from infra.notice_text import notice_text
from policy.lifecycle import Event
from policy.names import CustomerName, EmailAddress, Environment, SiteId
from policy.notice import Channel, NoticeKind
from policy.notices import _KINDS, NOT_TOLD, notices_for, recipients
from policy.request import Outcome, Status
from tests.unit.notice_estate import ANN, ENGINEER, LEE, NOW, ON_CALL, request, upgrade
from tests.unit.notice_examples import ESTATE, all_notices, body, change, told


def test_every_event_is_told_or_named_as_machinery() -> None:
    assert set(Event) == {event for event in _KINDS if event is not None} | NOT_TOLD


def test_contacts_of_customer_and_group_and_the_asker_are_told_each_in_their_zone() -> None:
    notices = told(Event.SCHEDULE, upgrade(), upgrade(scheduled_for=None))
    starts = {notice.to: notice.values["start"] for notice in notices}
    assert starts == {
        "bo@harbor.example.org": "Sunday 22 November 2026, 09:00 CET (Europe/Berlin)",
        LEE: "Sunday 22 November 2026, 03:00 EST (America/New_York)",
        ENGINEER: "Sunday 22 November 2026, 08:00 UTC",
    }
    assert len({notice.key for notice in notices}) == 3
    assert {notice.thread for notice in notices} == {"demo-estate.R43.20261120T093015Z"}


def test_nobody_else_is_told_of_another_customer() -> None:
    assert [notice.to for notice in told(None, request())] == [ANN]


def test_the_asker_is_told_once_whatever_the_letters_case() -> None:
    twice = request(asked_by=EmailAddress("ANN@lakeside.example.org"))
    assert [person.email for person in recipients(ESTATE, twice.site.customer, twice.asked_by)] == [ANN]


def test_a_customer_that_left_the_estate_does_not_keep_the_end_from_being_told() -> None:
    gone = request(
        site=SiteId(CustomerName("gone"), Environment.STAGING),
        status=Status.UNABLE_TO_COMPLETE,
        outcome=Outcome.CANCELLED,
    )
    (notice,) = told(Event.CANCEL, gone, gone)
    assert notice.to == ANN
    assert "Staging of gone" in notice_text(notice.kind, notice.values).subject
    left = upgrade(site=gone.site, outcome=Outcome.PUT_BACK)
    assert told(Event.PUT_BACK, left, left)


def test_stuck_calls_on_call_by_mail_and_channel_and_tells_contacts_no_commands() -> None:
    stuck = upgrade(status=Status.UNABLE_TO_COMPLETE, outcome=Outcome.STUCK, reason="rename failed.")
    notices = told(Event.STICK, stuck, upgrade(status=Status.IN_PROGRESS), run="r43a1")
    called = [notice for notice in notices if notice.kind is NoticeKind.STUCK_ON_CALL]
    assert {notice.channel for notice in called} == {Channel.MAIL, Channel.WEBHOOK}
    assert {notice.to for notice in called} == {ON_CALL}
    text = notice_text(called[0].kind, called[0].values)
    assert text.subject.startswith("STUCK R43, site locked")
    for needed in ("r43a1", "rename failed.", "freshet request clear R43", "docs/runbooks/stuck.md"):
        assert needed in text.body
    others = [notice for notice in notices if notice.kind is NoticeKind.STUCK]
    assert LEE in {notice.to for notice in others}
    assert all("freshet" not in body(notice) for notice in others)
    assert not any(
        n.channel is Channel.WEBHOOK for n in notices_for(change(Event.STICK, stuck), estate=ESTATE)
    )


def test_completed_refresh_says_until_when_it_can_be_undone() -> None:
    done = request(status=Status.COMPLETED, outcome=Outcome.DONE)
    (notice,) = told(Event.COMPLETE, done, request(status=Status.IN_PROGRESS))
    assert "kept until Saturday 28 November 2026, 14:00 CST (America/Chicago)" in body(notice)


def test_an_upgrade_of_production_names_every_site_that_it_touches() -> None:
    (notice, *_) = told(Event.SCHEDULE, upgrade(), upgrade(scheduled_for=None))
    assert notice.values["subject"] == "Production and Sandbox of Harbor College: upgrade to 26.5.0 (R43)"
    (other,) = told(Event.SCHEDULE, request(), request(scheduled_for=None))
    assert other.values["subject"] == "Sandbox of Lakeside Schools: database refresh (R42)"
    assert "Production itself goes on" in body(other)


def test_the_calendar_entry_keeps_its_uid_grows_and_disappears() -> None:
    waiting = request(status=Status.TO_BE_SCHEDULED, scheduled_for=None)
    moved = request(scheduled_for=NOW + timedelta(days=8))
    cancelled = request(status=Status.UNABLE_TO_COMPLETE, outcome=Outcome.CANCELLED)
    steps = [
        told(Event.SCHEDULE, request(), waiting, number=1, expected=timedelta(minutes=12)),
        told(Event.MOVE, moved, request(), number=2),
        told(Event.CANCEL, cancelled, moved, number=3),
    ]
    first, second, third = (notices[0].invite for notices in steps)
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.uid == second.uid == third.uid
    assert [first.sequence, second.sequence, third.sequence] == [1, 2, 3]
    assert [first.cancelled, second.cancelled, third.cancelled] == [False, False, True]
    assert first.end - first.start == timedelta(minutes=12)
    assert second.start == moved.scheduled_for
    assert third.start == moved.scheduled_for


@pytest.mark.parametrize(
    ("event", "after"),
    [
        (Event.DEFER, {"status": Status.DEFERRED, "scheduled_for": None}),
        (Event.ASK, {"status": Status.PENDING_INPUT, "scheduled_for": None}),
        (Event.SUPERSEDE, {"status": Status.NEW_VERSION_REQUESTED, "outcome": Outcome.SUPERSEDED}),
        (Event.EXPIRE, {"status": Status.UNABLE_TO_COMPLETE, "outcome": Outcome.EXPIRED}),
        (Event.UNSCHEDULE, {"status": Status.TO_BE_SCHEDULED, "scheduled_for": None}),
    ],
)
def test_a_date_that_falls_away_leaves_the_calendar(event: Event, after: dict[str, object]) -> None:
    (notice,) = told(event, request(**after), request())
    assert notice.invite is not None
    assert notice.invite.cancelled
    (without,) = told(event, request(**after), request(scheduled_for=None))
    assert without.invite is None


def test_what_only_concerns_the_machinery_is_not_told() -> None:
    assert told(Event.PULL, request(status=Status.NOT_STARTED), request()) == ()
    assert told(Event.MOVE, request(), request()) == ()
    assert told(Event.RELEASE, request(), request(status=Status.NOT_STARTED)) == ()
    assert told(Event.RELEASE, request(), request(status=Status.IN_PROGRESS)) != ()


def test_the_same_change_has_the_same_keys_and_another_change_others() -> None:
    first = {notice.key for notice in told(None, upgrade())}
    assert {notice.key for notice in told(None, upgrade())} == first
    assert not first & {notice.key for notice in told(None, upgrade(), number=318)}
    for key in first:
        assert re.fullmatch(r"[a-zA-Z0-9.-]+", key)


def test_payloads_are_json_and_hold_no_objects() -> None:
    for notice in all_notices():
        assert json.loads(json.dumps(notice.payload())) == notice.payload()
