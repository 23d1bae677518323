"""Refreshes that come back: each date one request, a week ahead; bounded skips; rights that change."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

import pytest

from infra.ledger import requests
from policy.errors import Refused
from policy.maintenance_window import Weekday
from policy.names import SiteId
from policy.recurrence import Recurrence, Which
from policy.request import Outcome, Request, Status
from tasks import manage
from tasks.recurring import add_recurring, ask_recurring, end_recurring, recurring_view, skip_recurring
from tests.integration.at_once import at_once
from tests.integration.request_worlds import DANA, ENGINEER, LI, LIVE, SANDBOX, RequestWorld
from tests.integration.terminals import Terminal

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
FIRST_SATURDAY = datetime(2026, 12, 5, 8, 0, tzinfo=UTC)
"""2 o'clock in Chicago."""


def add(world: RequestWorld, which: Which = Which.FIRST, site: SiteId = SANDBOX) -> Recurrence:
    return add_recurring(world.world, world.principal(DANA), site, which, Weekday.SAT, time(2, 0))


def round_at(world: RequestWorld, at: datetime) -> int:
    world.clock.at = at
    return ask_recurring(world.world)


def everything(world: RequestWorld) -> list[Request]:
    with world.world.ledger.transaction() as connection:
        return requests.find(connection)


def test_each_date_is_asked_for_once_a_week_ahead_in_the_contacts_zone(world: RequestWorld) -> None:
    assert add(world).sentence == "every first Saturday at 02:00 (America/Chicago)"
    assert round_at(world, FIRST_SATURDAY - 7 * DAY - MINUTE) == 0
    assert round_at(world, FIRST_SATURDAY - 7 * DAY) == 1
    for later in range(1, 6):
        assert round_at(world, FIRST_SATURDAY - 7 * DAY + later * DAY) == 0
    (request,) = everything(world)
    assert (request.site, request.asked_by, request.not_before) == (SANDBOX, DANA, FIRST_SATURDAY)
    world.plan_at(FIRST_SATURDAY - 2 * DAY)
    assert world.get(request.id).scheduled_for == FIRST_SATURDAY
    assert world.mails(request.id) == [("accepted", DANA), ("scheduled", DANA)]
    world.clock.at = FIRST_SATURDAY
    world.carry_out(request.id, took=10 * MINUTE)
    assert round_at(world, datetime(2026, 12, 27, tzinfo=UTC)) == 1
    assert everything(world)[1].not_before == datetime(2027, 1, 2, 8, 0, tzinfo=UTC)
    manage.cancel(world.world, everything(world)[1].id, DANA, "")
    # After the change of the clocks the same hour in Chicago is another hour in UTC.
    assert round_at(world, datetime(2027, 3, 29, tzinfo=UTC)) == 1
    assert everything(world)[2].not_before == datetime(2027, 4, 3, 7, 0, tzinfo=UTC)


def test_two_dispatchers_and_a_crash_ask_once(world: RequestWorld) -> None:
    add(world)
    world.clock.at = FIRST_SATURDAY - 3 * DAY
    at_once(*[partial(ask_recurring, world.world)] * 3)
    assert len(everything(world)) == 1
    with world.world.ledger.transaction() as connection:
        # As if the dispatcher had been killed before it could note the request.
        connection.execute("delete from recurrence_date")
    round_at(world, FIRST_SATURDAY - 2 * DAY)
    assert len(everything(world)) == 1


def test_a_skipped_date_is_cancelled_and_two_in_a_row_are_the_most(world: RequestWorld) -> None:
    add(world)
    round_at(world, FIRST_SATURDAY - 5 * DAY)
    who = world.principal(DANA)
    (request,) = everything(world)
    for day in (date(2026, 12, 5), date(2027, 1, 2)):
        skip_recurring(world.world, who, SANDBOX, day)
    assert world.get(request.id).outcome is Outcome.CANCELLED
    assert world.mails(request.id)[-1] == ("cancelled", DANA)
    with pytest.raises(Refused, match="at most 2 refreshes in a row"):
        skip_recurring(world.world, who, SANDBOX, date(2027, 2, 6))
    with pytest.raises(Refused, match="is not refreshed on 2026-12-06"):
        skip_recurring(world.world, who, SANDBOX, date(2026, 12, 6))
    assert round_at(world, FIRST_SATURDAY - 4 * DAY) == 0
    (shown,) = recurring_view(world.world, who)
    assert [entry["day"] for entry in shown["next"]] == ["2027-02-06", "2027-03-06"]


def test_a_date_that_cannot_be_asked_for_is_tried_again_and_its_reason_kept(world: RequestWorld) -> None:
    in_the_way = world.ask(SANDBOX, by=DANA, at=FIRST_SATURDAY + 30 * DAY)
    add(world)
    assert round_at(world, FIRST_SATURDAY - 5 * DAY) == 0
    assert round_at(world, FIRST_SATURDAY - 4 * DAY) == 0
    (shown,) = recurring_view(world.world, world.principal(DANA))
    assert "already has a waiting refresh" in shown["dates"][0]["reason"]
    with world.world.ledger.transaction() as connection:
        row = connection.execute(
            "select count(*) as n from event where verb = 'recurrence_refused'"
        ).fetchone()
    assert row == {"n": 1}
    manage.cancel(world.world, in_the_way, DANA, "")
    assert round_at(world, FIRST_SATURDAY - 3 * DAY) == 1


def test_who_lost_the_right_asks_no_more(world: RequestWorld) -> None:
    add(world)
    file = world.world.settings.estate
    file.write_text(file.read_text().replace("customers: [lakeside]}", "customers: [mesa]}"))
    assert round_at(world, FIRST_SATURDAY - 5 * DAY) == 0
    (shown,) = recurring_view(world.world, world.principal(ENGINEER))
    assert shown["dates"][0]["reason"].startswith("customer: ")
    assert everything(world) == []


def test_only_one_for_a_site_only_of_ones_own_and_never_production(world: RequestWorld) -> None:
    add(world)
    with pytest.raises(Refused, match="has a recurring refresh already"):
        add(world, Which.LAST)
    with pytest.raises(Refused, match=r"^site: "):
        add(world, site=LIVE)
    who = world.principal(LI)
    with pytest.raises(Refused, match=r"^customer: "):
        add_recurring(world.world, who, SANDBOX, Which.EVERY, Weekday.MON, time(3))
    with pytest.raises(Refused, match=r"^customer: "):
        skip_recurring(world.world, who, SANDBOX, date(2026, 12, 5))
    with pytest.raises(Refused, match=r"^customer: "):
        end_recurring(world.world, who, SANDBOX)
    assert recurring_view(world.world, who) == []
    assert world.rows("recurrence") == {"recurrence": 1}


def test_an_ended_one_leaves_its_last_request_and_makes_room(world: RequestWorld) -> None:
    add(world)
    round_at(world, FIRST_SATURDAY - 5 * DAY)
    end_recurring(world.world, world.principal(DANA), SANDBOX)
    assert everything(world)[0].status is Status.TO_BE_SCHEDULED
    assert round_at(world, FIRST_SATURDAY + 23 * DAY) == 0
    add(world, Which.EVERY)


def test_the_recurring_commands(terminal: Terminal) -> None:
    run = partial(terminal.says, "recurring")
    here = ("--customer", "lakeside", "--site", "sandbox")
    for wrong, field in (
        (("--day", "saturday", "--at", "02:00"), "day"),
        (("--day", "sat", "--at", "2 am"), "at"),
        (("--day", "sat", "--at", "02:00", "--every", "third-to-last"), "every"),
        (("--day", "sat", "--at", "02:00", "--until", "soon"), "until"),
        (("--day", "sat", "--at", "02:00", "--until", "2020-01-01"), "until"),
    ):
        assert run("add", *here, *wrong, code=2).startswith(f"refused: {field}: ")
    said = run("add", *here, "--every", "first", "--day", "sat", "--at", "02:00")
    assert said == "lakeside/sandbox: every first Saturday at 02:00 (America/Chicago)\n"
    (shown,) = json.loads(run("list", "--json"))
    assert list(shown) == ["customer", "site", "every", "asked_by", "until", "skipped", "next", "dates"]
    following = shown["next"][0]["day"]
    assert f"without {following}" in run("skip", *here, following)
    assert json.loads(run("list", "--json"))[0]["next"][0]["day"] > following
    assert "no longer every first Saturday" in run("end", *here)
    assert run("end", *here, code=2).startswith("refused: site: ")
