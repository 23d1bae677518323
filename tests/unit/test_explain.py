"""Every reason becomes one plain sentence; every moved date is told with its cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from policy.explain import explain, explain_answer, ordinal
from policy.maintenance_window import Freeze
from policy.names import RequestId, RunId
from policy.pause import Pause
from policy.plan import Placement, Plan, Reason, Unplaceable, Why
from policy.plan_diff import diff_plans
from policy.planner import plan
from policy.waiting import Hold, Queue, Running, Use, Waiting
from policy.windows import Calendar
from tests.estate_parts import CHICAGO
from tests.unit.rights_estate import SUNDAY
from tests.unit.waits import HOUR, NOW, TRIAL, wait

AUDIT = Freeze(
    name="audit", zone=CHICAGO, first=date(2026, 11, 21), last=date(2026, 11, 22), reason="accounts"
)
SUNDAYS = Calendar(windows=[SUNDAY], freezes=(), since=NOW - timedelta(days=1))


def answers(*waiting: Waiting, **changes: object) -> list[Placement | Unplaceable]:
    queue = replace(Queue(now=NOW, waiting=waiting), **changes)  # type: ignore[arg-type]  # any field
    return list(plan(queue).answers.values())


def last(*waiting: Waiting, **changes: object) -> str:
    return explain(answers(*waiting, **changes)[-1].reason, CHICAGO)


SUNDAY_04 = "Sunday 22 November 2026, 04:00 CST (America/Chicago)"
CASES: dict[Why, tuple[Callable[[], str], str]] = {
    Why.NOW: (lambda: last(wait(1)), "nothing keeps it waiting; it is about to start."),
    Why.ASKED_FOR: (lambda: last(wait(1, not_before=NOW + HOUR)), "this is the time that was asked for."),
    Why.CONFIRMED: (lambda: last(wait(1, confirmed=NOW + HOUR)), "this date was confirmed and stands."),
    Why.WINDOW: (
        lambda: last(wait(1, calendar=SUNDAYS)),
        f"it waits for its maintenance window, which opens {SUNDAY_04}.",
    ),
    Why.TOO_LITTLE_LEFT: (
        lambda: last(wait(1, calendar=SUNDAYS), now=NOW + 26 * HOUR),
        (
            "the work and, if need be, putting it back take 1 h 15 min, but only 1 h are left of the window "
            "that ends Sunday 22 November 2026, 09:00 CST (America/Chicago), so it waits for the next one."
        ),
    ),
    Why.FREEZE: (
        lambda: last(wait(1, calendar=Calendar(windows=None, freezes=(AUDIT,), since=NOW))),
        (
            "nothing may start during a freeze (audit: accounts); it waits until Monday 23 November 2026, "
            "00:00 CST (America/Chicago)."
        ),
    ),
    Why.START_BY: (
        lambda: last(wait(1, calendar=SUNDAYS, start_by=NOW + 23 * HOUR), now=NOW + 24 * HOUR),
        (
            "it could not start by Sunday 22 November 2026, 05:00 CST (America/Chicago), so it waits for the "
            "next time it may."
        ),
    ),
    Why.BUSY: (
        lambda: last(wait(1), wait(2)),
        (
            "database server trial is taken by R1, whose turn comes first, until Saturday 21 November 2026, "
            "07:00 CST (America/Chicago)."
        ),
    ),
    Why.WINDOW_FULL: (
        lambda: last(*(wait(n, calendar=SUNDAYS, expected=4 * HOUR) for n in (1, 2))),
        (
            "the window of Sunday 22 November 2026 is full: database server trial is taken throughout by "
            "requests whose turn comes before, so it waits for the next one."
        ),
    ),
    Why.PAUSED: (
        lambda: last(wait(1), pauses=(Pause(scope="all", reason="disk swap", by="dana", at=NOW),)),
        "everything is paused by dana: disk swap; it waits until somebody lifts that.",
    ),
    Why.DEFERRED: (
        lambda: last(wait(1, hold=Hold.DEFERRED)),
        "the hosting team has put it on hold until further notice.",
    ),
    Why.ANSWER: (lambda: last(wait(1, hold=Hold.ANSWER)), "it waits for the answer to a question."),
    Why.LOCKED: (
        lambda: last(wait(1, hold=Hold.LOCKED)),
        "the site is locked after a failed run until an engineer has cleared it.",
    ),
    Why.NO_WINDOW: (
        lambda: last(wait(1, calendar=Calendar(windows=(), freezes=(), since=NOW))),
        "the customer has no maintenance window ahead; the hosting team declares one.",
    ),
    Why.TOO_LONG: (
        lambda: last(wait(1, calendar=SUNDAYS, expected=5 * HOUR)),
        (
            "the work and, if need be, putting it back take 5 h 15 min, longer than any window (5 h); the "
            "hosting team has to agree on a longer one."
        ),
    ),
    Why.EXPIRED: (
        lambda: last(wait(1, start_by=NOW - HOUR)),
        (
            "it had to start by Saturday 21 November 2026, 05:00 CST (America/Chicago), and no later time "
            "was agreed on."
        ),
    ),
    Why.FULL: (
        lambda: last(wait(1, uses=(Use("server:trial", 2),))),
        "database server trial has no room for it within the next 400 days; the hosting team looks at it.",
    ),
}


@pytest.mark.parametrize("why", Why)
def test_each_reason_comes_about_and_reads_well(why: Why) -> None:
    make, expected = CASES[why]
    assert make() == expected


def test_a_pause_with_an_end_says_when() -> None:
    until = NOW + 2 * HOUR
    pause = Pause(scope="all", reason="disk swap", by="dana", at=NOW, until=until)
    words = last(wait(1), pauses=(pause,))
    assert words.startswith(
        "everything is paused by dana: disk swap; it waits until Saturday 21 November 2026"
    )


def test_an_answer_says_date_place_and_reason() -> None:
    first, second = answers(wait(1), wait(2))
    assert explain_answer(second, CHICAGO) == (
        "Starts Saturday 21 November 2026, 07:00 CST (America/Chicago), done between 07:30 and 08:15 CST; "
        "2nd in the queue for database server trial. "
        "Database server trial is taken by R1, whose turn comes first, until Saturday 21 November 2026, "
        "07:00 CST (America/Chicago)."
    )
    assert "1st in the queue" in explain_answer(first, CHICAGO)
    paused = answers(wait(1), wait(2), pauses=(Pause(scope="all", reason="disk swap", by="dana", at=NOW),))
    assert explain_answer(paused[1], CHICAGO).startswith("No date yet: everything is paused")
    assert explain_answer(paused[1], CHICAGO).endswith("It keeps its place in the queue (2).")


def test_the_range_covers_both_days_over_midnight_and_a_change_of_the_clocks() -> None:
    late = wait(1, not_before=datetime(2026, 11, 22, 5, 45, tzinfo=UTC))
    assert "between Sunday 22 November 2026, 00:15 CST" not in explain_answer(answers(late)[0], CHICAGO)
    autumn = wait(1, not_before=datetime(2027, 11, 7, 6, 15, tzinfo=UTC), expected=2 * HOUR)
    found = answers(autumn)
    assert "CDT" in explain_answer(found[0], CHICAGO)
    assert "02:15 CST" in explain_answer(found[0], CHICAGO)


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (23, "23rd")],
)
def test_ordinals(number: int, words: str) -> None:
    assert ordinal(number) == words


def shifts(before: Queue, after: Queue) -> list[str]:
    return [shift.sentence(CHICAGO) for shift in diff_plans((before, plan(before)), (after, plan(after)))]


def test_whoever_is_moved_is_told_by_whom() -> None:
    other = wait(3, uses=(Use("server:other"),))
    before = Queue(now=NOW, waiting=(wait(1), wait(2), other))
    after = replace(before, waiting=(wait(2), other))
    (words,) = shifts(before, after)
    assert words.startswith("R2 starts sooner, Saturday 21 November 2026, 06:00 CST")
    assert "(R1 left the queue)" in words
    (words,) = shifts(after, before)
    assert "R2 starts later" in words
    assert "(R1 was asked for)" in words
    assert "taken by R1" in words
    assert shifts(before, before) == []


def test_running_work_pauses_and_changes_are_named_as_causes() -> None:
    run = Running(run=RunId("r9a1"), uses=(TRIAL,), until=NOW + HOUR)
    before = Queue(now=NOW, waiting=(wait(1),), running=(run,))
    longer = replace(before, running=(replace(run, until=NOW + 2 * HOUR),))
    assert "(r9a1 takes longer)" in shifts(before, longer)[0]
    assert "(r9a1 ended)" in shifts(before, replace(before, running=()))[0]
    changed = replace(before, waiting=(wait(1, not_before=NOW + 3 * HOUR),))
    assert "(R1 changed)" in shifts(before, changed)[0]
    paused = replace(before, running=(), pauses=(Pause(scope="all", reason="disk swap", by="dana", at=NOW),))
    (words,) = shifts(replace(before, running=()), paused)
    assert words.startswith("R1 has no date any more (the queue was paused or resumed): everything is paused")
    assert shifts(paused, replace(before, running=()))[0].startswith("R1 gets a date")
    began = replace(
        before, waiting=(wait(2),), running=(Running(run=RunId("r1a1"), uses=(TRIAL,), until=NOW + HOUR),)
    )
    two = Queue(now=NOW, waiting=(wait(1, expected=2 * HOUR), wait(2)))
    assert "(R1 began)" in shifts(two, began)[0]


def test_every_reason_has_a_sentence_even_when_little_is_known() -> None:
    for why in Why:
        assert explain(Reason(why=why), CHICAGO).endswith(".")


def test_the_plan_tells_what_is_due() -> None:
    made: Plan = plan(Queue(now=NOW, waiting=(wait(1), wait(2), wait(3, hold=Hold.ANSWER))))
    assert [p.request for p in made.due(NOW)] == ["R1"]
    assert [p.request for p in made.due(NOW + HOUR)] == ["R1", "R2"]
    assert made.placement(RequestId("R3")) is None
