"""Who is told what: recipients, zones, threads, calendar entries, and every template with every value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from jinja2 import meta

from infra.notice_text import TEMPLATES, _environment, notice_text, one_line
from policy.campaign import Campaign, Member, Progress
from policy.campaign_notice import campaign_notices
from policy.errors import Refused
from policy.lifecycle import Event
from policy.names import CustomerName, EmailAddress, Environment, GroupName, RequestId, SiteId, Version
from policy.notice import Channel, Notice, NoticeKind, Value
from policy.notices import _KINDS, NOT_TOLD, Change, notices_for, recipients
from policy.reminders import digests, reminders_due, undo_expiring
from policy.request import Kind, Outcome, Request, Status
from tests.unit.notice_estate import (
    ANN,
    ENGINEER,
    FOLLOW_UP,
    HARBOR,
    LEE,
    NOW,
    ON_CALL,
    estate,
    request,
    upgrade,
)

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


def test_every_event_is_told_or_named_as_machinery() -> None:
    assert set(Event) == {event for event in _KINDS if event is not None} | NOT_TOLD


def test_every_kind_has_a_template_and_every_template_a_kind() -> None:
    files = {path.stem for path in TEMPLATES.glob("*.txt") if not path.name.startswith("_")}
    assert files == {kind.value for kind in NoticeKind}
    assert set(EXAMPLES) == set(NoticeKind)


def named_in(template: str) -> set[str]:
    """Every value that a template names, its parts included."""
    environment = _environment()
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, template)
    parsed = environment.parse(source)
    names = set(meta.find_undeclared_variables(parsed))
    for part in meta.find_referenced_templates(parsed):
        assert part is not None
        names |= named_in(part)
    return names


@pytest.mark.parametrize("kind", list(NoticeKind))
def test_every_template_is_filled_wholly_in_all_its_branches(kind: NoticeKind) -> None:
    notice = EXAMPLES[kind]
    names = named_in(f"{kind.value}.txt")
    assert names <= set(notice.values)
    for flags in (True, False):
        values: dict[str, Value] = {}
        for name, value in notice.values.items():
            if isinstance(value, bool):
                values[name] = flags
            elif isinstance(value, tuple):
                values[name] = ("first", "second") if flags else ()
            else:
                values[name] = f"the-{name}" if flags else ""
        for work in Kind:
            text = notice_text(kind, values | {"kind": work.value, "subject": "S", "request": "R42"})
            assert text.subject
            assert "\n\n\n" not in text.body
            assert "{" not in text.body
            assert not re.search(r"[ \t]+$", text.body.replace("-- \n", ""), re.MULTILINE)
            if flags:
                for name in names - {"kind", "subject", "request"}:
                    if isinstance(values[name], str) and name not in HIDDEN:
                        all_works = [notice_text(kind, values | {"kind": w.value}).body for w in Kind]
                        assert any(f"the-{name}" in shown for shown in all_works), name


HIDDEN = {"preferred"}
"""Shown only while there is no date, so not when every question is answered with yes."""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in NoticeKind
        for name in ("subject", "zone", "work")
        if name in named_in(f"{kind.value}.txt")
    ],
)
def test_a_value_that_is_missing_is_an_error_not_a_gap(kind: NoticeKind, name: str) -> None:
    values = {key: value for key, value in EXAMPLES[kind].values.items() if key != name}
    with pytest.raises(Refused, match=f"notice {kind.value}: its template cannot be filled: '{name}'"):
        notice_text(kind, values)


@pytest.mark.parametrize("kind", sorted(set(NoticeKind) - {NoticeKind.DIGEST}))
def test_every_notice_says_the_next_step(kind: NoticeKind) -> None:
    assert "Next" in body(EXAMPLES[kind])


@pytest.mark.parametrize(
    "kind",
    [NoticeKind.SCHEDULED, NoticeKind.MOVED, NoticeKind.REMINDER, NoticeKind.LOG_OUT, NoticeKind.STARTED],
)
def test_what_happens_to_scheduled_tasks_is_told_before_and_at_the_start(kind: NoticeKind) -> None:
    text = " ".join(body(EXAMPLES[kind]).split())
    assert (
        "Scheduled tasks of the application that would run, or still run, during the work do not complete"
        in text
    )
    assert "They run at their next set time" in text


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


def test_put_back_is_never_worded_as_broken_nor_stuck_as_put_back() -> None:
    put_back, stuck = body(EXAMPLES[NoticeKind.PUT_BACK]), body(EXAMPLES[NoticeKind.STUCK])
    assert "works as before" in put_back
    assert "locked" not in put_back
    assert "locked" in stuck
    assert "works as before" not in stuck


def test_completed_upgrade_tells_users_what_to_do_and_how_long_it_was_away() -> None:
    text = body(EXAMPLES[NoticeKind.COMPLETED])
    for line in FOLLOW_UP.split("\n"):
        assert f"> {line}" in text
    assert "9.8 s" in text
    assert "34.2 s" in text
    assert "undone" not in text


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


HOSTILE = "x\r\nBcc: all@example.org\r\n\r\n<b>\x00\x1b[2J\u202egnp\u2028Next: pay\ud800"


@pytest.mark.parametrize("kind", list(NoticeKind))
def test_no_value_begins_a_header_or_a_line_of_its_own(kind: NoticeKind) -> None:
    values: dict[str, Value] = {}
    for name, value in EXAMPLES[kind].values.items():
        if isinstance(value, bool) or name == "kind":
            values[name] = value
        else:
            values[name] = (HOSTILE,) if isinstance(value, tuple) else HOSTILE
    text = notice_text(kind, values)
    assert text.subject.isprintable()
    assert len(text.subject) <= 180
    lines = text.body.split("\n")
    assert not any(line.startswith(("Bcc:", "Next: pay", "<b>")) for line in lines)
    assert not any(c in text.body for c in "\0\x1b\u202e\u2028\r")
    text.body.encode()


def test_long_texts_are_cut() -> None:
    assert one_line("word " * 500).endswith("…")
    assert len(one_line("word " * 500)) == 600
    values = dict(EXAMPLES[NoticeKind.QUESTION].values) | {"question": "y\n" * 9000}
    assert len(notice_text(NoticeKind.QUESTION, values).body) < 10_000


def test_payloads_are_json_and_hold_no_objects() -> None:
    for notice in all_notices():
        assert json.loads(json.dumps(notice.payload())) == notice.payload()
