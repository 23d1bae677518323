"""What people do to requests, and what they may not: every command with its refusals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from infra.ledger import installed
from policy.errors import Busy, Refused
from policy.journal import Finish
from policy.names import RequestId, SiteId, Version
from policy.request import Kind, Outcome, Status
from tasks import manage
from tasks.reschedule import reschedule
from tasks.time_out import time_out
from tests.integration.request_worlds import DANA, LI, LIVE, NOW, SANDBOX, SUNDAY_WINDOW, WEEK, RequestWorld

QUARTER = timedelta(minutes=15)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as error:
        call()
    return str(error.value)


def scheduled(world: RequestWorld, site: SiteId = SANDBOX, version: str | None = None) -> RequestId:
    number = world.ask(site, by=DANA, version=version)
    world.plan_at(NOW)
    assert world.get(number).status is Status.SCHEDULED
    return number


@pytest.mark.parametrize("planned", [False, True])
def test_a_waiting_request_is_cancelled_by_its_contact(world: RequestWorld, *, planned: bool) -> None:
    number = scheduled(world) if planned else world.ask(SANDBOX, by=DANA)
    request = manage.cancel(world.world, number, DANA, "")
    assert (request.status, request.outcome) == (Status.UNABLE_TO_COMPLETE, Outcome.CANCELLED)
    assert request.reason == "Cancelled on request."
    assert world.mails(number)[-1] == ("cancelled", DANA)
    assert world.plan_at(NOW + timedelta(hours=1)) == 0
    again = refused(lambda: manage.cancel(world.world, number, DANA, ""))
    assert "cannot be cancelled" in again


def test_never_cancelled_once_in_progress(world: RequestWorld) -> None:
    number = scheduled(world)
    world.begin(number)
    assert world.get(number).status is Status.IN_PROGRESS
    for email in (DANA, None):
        said = refused(partial(manage.cancel, world.world, number, email, ""))
        assert "'In Progress' cannot be cancelled" in said
    for change in (
        lambda: manage.ask(world.world, number, "Really?"),
        lambda: manage.defer(world.world, number, None, "Wait"),
        lambda: reschedule(world.world, number, DANA, "2026-11-23 02:00", ""),
        lambda: manage.delete(world.world, number, DANA),
    ):
        refused(change)
    assert world.get(number).status is Status.IN_PROGRESS


def test_somebody_elses_request_reads_as_if_there_were_none(world: RequestWorld) -> None:
    number = scheduled(world)
    there_is_none = refused(lambda: manage.cancel(world.world, RequestId("R99"), LI, ""))
    before = world.rows("event", "outbox")
    calls: list[Callable[[], object]] = [
        lambda: manage.visible(world.world, manage.principal(world.world, LI), number),
        lambda: manage.cancel(world.world, number, LI, ""),
        lambda: manage.delete(world.world, number, LI),
        lambda: manage.undo(world.world, number, LI, ""),
        lambda: manage.retry(world.world, number, LI),
        lambda: manage.answer(world.world, number, LI, "yes"),
        lambda: reschedule(world.world, number, LI, "2026-11-23 02:00", ""),
    ]
    for call in calls:
        assert refused(call) == there_is_none.replace("R99", str(number))
    assert world.rows("event", "outbox") == before


def test_hold_and_resume_are_the_hosting_teams(world: RequestWorld) -> None:
    number = scheduled(world, LIVE, "26.5.0")
    assert "may not put on hold" in refused(lambda: manage.defer(world.world, number, DANA, "Later"))
    assert "reason: it is empty" in refused(lambda: manage.defer(world.world, number, None, " \n"))
    request = manage.defer(world.world, number, None, "Waiting for the auditors")
    assert (request.status, request.scheduled_for, request.start_by) == (Status.DEFERRED, None, None)
    assert world.plan_at(NOW + WEEK) == 0
    assert "cannot be put on hold" in refused(lambda: manage.defer(world.world, number, None, "Again"))
    world.clock.at = NOW + WEEK
    assert manage.resume(world.world, number, None).status is Status.TO_BE_SCHEDULED
    world.plan_at(NOW + WEEK)
    assert world.get(number).scheduled_for == SUNDAY_WINDOW + WEEK
    assert [kind for kind, _ in world.mails(number)] == [
        "accepted",
        "scheduled",
        "deferred",
        "resumed",
        "scheduled",
    ]


def test_a_question_stops_a_request_until_it_is_answered(world: RequestWorld) -> None:
    number = scheduled(world)
    assert "question: it is empty" in refused(lambda: manage.ask(world.world, number, ""))
    request = manage.ask(world.world, number, "May the reports of 2019 go?")
    assert (request.status, request.scheduled_for) == (Status.PENDING_INPUT, None)
    assert world.mails(number)[-1] == ("question", DANA)
    assert world.plan_at(NOW + timedelta(days=2)) == 0
    assert "answer: it is empty" in refused(lambda: manage.answer(world.world, number, DANA, " "))
    answered = manage.answer(world.world, number, DANA, "Yes, all of them.")
    assert (answered.status, answered.reason) == (Status.TO_BE_SCHEDULED, "Answered: Yes, all of them.")
    assert "be answered" in refused(lambda: manage.answer(world.world, number, DANA, "Yes"))
    world.plan_at(NOW + timedelta(days=2))
    assert world.get(number).status is Status.SCHEDULED


def test_a_question_without_an_answer_becomes_a_hold_that_says_so(world: RequestWorld) -> None:
    number = scheduled(world)
    manage.ask(world.world, number, "May the reports go?")
    world.clock.at = NOW + WEEK - timedelta(minutes=1)
    assert time_out(world.world) == 0
    world.clock.at = NOW + WEEK
    assert time_out(world.world) == 1
    assert time_out(world.world) == 0
    request = world.get(number)
    assert request.status is Status.DEFERRED
    assert "No answer came within 7 days" in request.reason
    assert world.mails(number)[-1] == ("deferred", DANA)
    assert manage.resume(world.world, number, None).status is Status.TO_BE_SCHEDULED


def test_a_contact_moves_a_refresh_in_the_own_time_zone(world: RequestWorld) -> None:
    number = world.ask(SANDBOX, by=DANA, at=NOW + timedelta(hours=3))
    world.plan_at(NOW)
    request = reschedule(world.world, number, DANA, "2026-11-23 02:00", "")
    at = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    assert (request.status, request.scheduled_for) == (Status.SCHEDULED, at)
    assert (request.not_before, request.start_by) == (at, at + timedelta(hours=4))
    assert request.reason == "Moved on request."
    assert world.mails(number)[-1] == ("moved", DANA)
    assert world.plan_at(NOW + timedelta(minutes=5)) == 0
    assert world.verbs(number) == ["submit", "schedule", "move"]


def test_a_move_outside_the_window_becomes_the_next_date_that_fits_and_says_why(world: RequestWorld) -> None:
    number = scheduled(world, LIVE, "26.5.0")
    request = reschedule(world.world, number, DANA, "2026-11-24 12:00", "")
    assert request.scheduled_for == SUNDAY_WINDOW + WEEK
    assert request.reason.startswith("Moved on request. ")
    assert len(request.reason) > len("Moved on request. ")
    assert request.start_by is not None
    assert request.start_by > SUNDAY_WINDOW + WEEK
    moves = [kind for kind, _ in world.mails(number)].count("moved")
    world.plan_at(NOW + timedelta(minutes=5))
    assert [kind for kind, _ in world.mails(number)].count("moved") == moves == 1


@pytest.mark.parametrize(
    ("at", "word"),
    [
        ("2026-11-20 02:00", "past"),
        ("2027-03-14 02:30", "does not exist"),
        ("tomorrow", "not a date"),
        ("2026-11-31 02:00", "not a date"),
        ("2029-01-01 02:00", "days ahead"),
    ],
)
def test_a_move_to_no_such_time_is_refused(world: RequestWorld, at: str, word: str) -> None:
    number = scheduled(world, LIVE, "26.5.0")
    before = world.get(number)
    said = refused(lambda: reschedule(world.world, number, DANA, at, ""))
    assert said.startswith("at: ")
    assert word in said
    assert world.get(number) == before


def test_only_ended_requests_leave_the_list(world: RequestWorld) -> None:
    number = scheduled(world)
    assert "only an ended one" in refused(lambda: manage.delete(world.world, number, DANA))
    manage.cancel(world.world, number, DANA, "")
    manage.delete(world.world, number, DANA)
    assert world.verbs(number)[-1] == "delete"
    assert world.get(number).outcome is Outcome.CANCELLED


def test_a_finished_refresh_is_undone_once_and_in_time(world: RequestWorld) -> None:
    number = scheduled(world)
    assert "not a finished refresh" in refused(lambda: manage.undo(world.world, number, DANA, ""))
    world.carry_out(number, took=QUARTER)
    made = manage.undo(world.world, number, DANA, "Wrong day")
    assert (made.kind, made.undoes, made.status) == (Kind.UNDO, number, Status.TO_BE_SCHEDULED)
    assert "already has a waiting undo" in refused(lambda: manage.undo(world.world, number, DANA, ""))
    world.plan_at(world.clock.at)
    world.carry_out(made.id, took=QUARTER)
    said = refused(lambda: manage.undo(world.world, number, DANA, ""))
    assert f"it was undone by {made.id}" in said


def test_an_undo_comes_too_late_or_after_other_work(world: RequestWorld) -> None:
    first = scheduled(world)
    world.carry_out(first, took=QUARTER)
    second = world.ask(SANDBOX, by=DANA)
    world.plan_at(world.clock.at)
    world.carry_out(second, took=QUARTER)
    said = refused(lambda: manage.undo(world.world, first, DANA, ""))
    assert f"changed again by {second}" in said
    world.clock.advance(WEEK)
    assert "undo period" in refused(lambda: manage.undo(world.world, second, DANA, ""))


def upgrade_put_back(world: RequestWorld) -> RequestId:
    number = scheduled(world, LIVE, "26.5.0")
    world.clock.at = SUNDAY_WINDOW
    ended = world.carry_out(number, Finish.PUT_BACK, took=QUARTER)
    assert (ended.status, ended.outcome) == (Status.UNABLE_TO_COMPLETE, Outcome.PUT_BACK)
    return number


def test_a_release_that_failed_is_tried_again_on_an_engineers_word_only(world: RequestWorld) -> None:
    number = upgrade_put_back(world)
    assert "specialist" in refused(lambda: manage.retry(world.world, number, DANA))
    request = manage.retry(world.world, number, None)
    assert (request.status, request.scheduled_for) == (Status.TO_BE_SCHEDULED, None)
    estate = world.world.estate()
    release = estate.release(estate.webapp(LIVE).application, Version("26.5.0"))
    with world.world.ledger.transaction() as connection:
        assert not installed.known_bad(connection, webapp="lakeside/live", release=release)
    world.plan_at(world.clock.at)
    again = world.get(number)
    assert (again.status, again.scheduled_for) == (Status.SCHEDULED, world.clock.at)


def test_a_retry_stands_behind_a_request_that_waits_already(world: RequestWorld) -> None:
    number = upgrade_put_back(world)
    world.ask(LIVE, version="26.5.0")
    said = refused(lambda: manage.retry(world.world, number, None))
    assert "waits for its site; end that one first" in said
    assert world.get(number).outcome is Outcome.PUT_BACK


def test_a_retry_of_what_was_done_meanwhile_is_refused(world: RequestWorld) -> None:
    number = upgrade_put_back(world)
    world.install("lakeside/live", "26.5.0")
    assert "already runs 26.5.0" in refused(lambda: manage.retry(world.world, number, None))


@pytest.mark.parametrize("finished", [False, True])
def test_a_stuck_site_is_locked_until_an_engineer_clears_it(world: RequestWorld, *, finished: bool) -> None:
    number = scheduled(world)
    stuck = world.carry_out(number, Finish.STUCK, took=QUARTER)
    assert (stuck.status, stuck.outcome) == (Status.UNABLE_TO_COMPLETE, Outcome.STUCK)
    assert ("stuck_on_call", "on-call@hosting.example.org") in world.mails(number)
    behind = world.ask(SANDBOX, by=DANA)
    upgrade = world.ask(LIVE, by=DANA, version="26.5.0")
    world.plan_at(SUNDAY_WINDOW)
    for waiting in (behind, upgrade):
        assert world.get(waiting).status is Status.TO_BE_SCHEDULED
        assert world.get(waiting).reason
    for refusal in (
        lambda: manage.delete(world.world, number, None),
        lambda: manage.retry(world.world, number, None),
        lambda: manage.clear(world.world, number, "", finished=finished),
        lambda: manage.clear(world.world, behind, "Mended", finished=finished),
    ):
        refused(refusal)
    assert world.rows("run where state = 'stuck'") == {"run where state = 'stuck'": 1}
    cleared = manage.clear(world.world, number, "Renamed the database back", finished=finished)
    assert cleared.outcome is (Outcome.DONE if finished else Outcome.PUT_BACK)
    world.plan_at(SUNDAY_WINDOW + timedelta(minutes=2))
    assert world.get(behind).status is Status.SCHEDULED


def test_moving_a_request_that_just_came_due_withdraws_the_start(world: RequestWorld) -> None:
    number = scheduled(world)
    reschedule(world.world, number, DANA, "2026-11-23 02:00", "")
    with pytest.raises(Busy, match="not due yet"):
        world.begin(number)
    assert world.get(number).status is Status.SCHEDULED
