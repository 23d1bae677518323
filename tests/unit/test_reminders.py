"""Reminders, ends of undo periods and weekly digests: due at their moment, and told once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from policy.names import Environment, RequestId, SiteId
from policy.notice import NoticeKind
from policy.reminders import digests, reminders_due, undo_expiring
from policy.request import Outcome, Status
from tests.unit.notice_estate import ANN, HARBOR, LEE, NOW, request, upgrade
from tests.unit.notice_examples import ESTATE, body, request_start

START = datetime(2026, 11, 29, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        (timedelta(days=7), None),
        (timedelta(days=6), "remind-144h"),
        (timedelta(days=2), "remind-144h"),
        (timedelta(hours=24), "remind-24h"),
        (timedelta(hours=1), "remind-24h"),
        (timedelta(minutes=30), "log-out"),
        (timedelta(seconds=1), "log-out"),
        (timedelta(0), None),
        (timedelta(seconds=-1), None),
    ],
)
def test_of_the_reminders_only_the_nearest_is_due(before: timedelta, kind: str | None) -> None:
    due = reminders_due(request(scheduled_for=START), estate=ESTATE, now=START - before)
    assert [notice.key.split(".")[3].rpartition("-2026")[0] for notice in due] == (
        [] if kind is None else [kind]
    )


def test_a_date_told_inside_the_reminders_time_is_not_reminded_of_at_once() -> None:
    scheduled = request(scheduled_for=START)
    two_days = START - timedelta(days=2)
    assert reminders_due(scheduled, estate=ESTATE, now=two_days, told_at=two_days) == ()
    assert reminders_due(scheduled, estate=ESTATE, now=START - timedelta(hours=23), told_at=two_days) != ()
    late = START - timedelta(minutes=5)
    (notice,) = reminders_due(scheduled, estate=ESTATE, now=late, told_at=late)
    assert notice.kind is NoticeKind.LOG_OUT
    assert "begins in 5 min" in body(notice)


def test_reminders_repeat_their_keys_until_the_date_moves() -> None:
    now = START - timedelta(hours=20)
    (first,) = reminders_due(request(scheduled_for=START), estate=ESTATE, now=now)
    (again,) = reminders_due(request(scheduled_for=START), estate=ESTATE, now=now + timedelta(hours=1))
    (moved,) = reminders_due(request(scheduled_for=START + timedelta(hours=2)), estate=ESTATE, now=now)
    assert first.key == again.key != moved.key


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.SCHEDULED])
def test_only_scheduled_requests_are_reminded_of(status: Status) -> None:
    assert (
        reminders_due(request(status=status), estate=ESTATE, now=request_start() - timedelta(hours=1)) == ()
    )


def test_the_end_of_an_undo_period_is_told_in_its_last_day_only() -> None:
    done, until = request(outcome=Outcome.DONE), NOW + timedelta(days=7)
    for now, count in [
        (until - timedelta(hours=25), 0),
        (until - timedelta(hours=24), 1),
        (until - timedelta(seconds=1), 1),
        (until, 0),
    ]:
        assert len(undo_expiring(done, estate=ESTATE, now=now, undo_until=until)) == count


def test_the_digest_comes_once_a_week_to_those_concerned() -> None:
    requests = [request(), upgrade(outcome=Outcome.PUT_BACK, status=Status.UNABLE_TO_COMPLETE)]
    sunday = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
    notices = digests(requests, estate=ESTATE, now=sunday)
    assert {notice.to for notice in notices} == {ANN, LEE, "bo@harbor.example.org"}
    texts = {notice.to: body(notice) for notice in notices}
    assert "R42 Sandbox of Lakeside Schools: database refresh: Scheduled, Sunday 22 November" in texts[ANN]
    assert "R43" not in texts[ANN]
    assert "R43 Production of Harbor College: upgrade to 26.5.0: Unable to Complete (put back)" in texts[LEE]
    keys = {notice.key for notice in notices}
    assert {n.key for n in digests(requests, estate=ESTATE, now=sunday - timedelta(days=5))} == keys
    monday = datetime(2026, 11, 30, 11, 0, tzinfo=UTC)  # 12:00 in Berlin, 06:00 in New York, 05:00 in Chicago
    early = digests(requests, estate=ESTATE, now=monday)
    assert [notice.to for notice in early] == ["bo@harbor.example.org"]
    assert not {notice.key for notice in early} & keys
    assert digests([], estate=ESTATE, now=sunday) == ()


def test_what_was_asked_for_since_monday_waits_for_the_next_digest() -> None:
    wednesday = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    asked = [request(asked_at=wednesday - timedelta(hours=1))]
    assert digests(asked, estate=ESTATE, now=wednesday) == ()
    assert [n.to for n in digests(asked, estate=ESTATE, now=wednesday + timedelta(days=7))] == [ANN]


def test_a_long_digest_is_cut_with_a_count() -> None:
    many = [
        request(id=RequestId.of(number), site=SiteId(HARBOR, Environment.STAGING)) for number in range(1, 151)
    ]
    notice = digests(many, estate=ESTATE, now=NOW + timedelta(days=7))[0]
    assert "and 50 more" in body(notice)
