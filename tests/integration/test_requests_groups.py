"""A group's upgrade on a real ledger: rings, soaking, the breaker, and what its customers are told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from infra.ledger import campaigns, requests
from policy.campaign import Breaker, Progress
from policy.errors import Refused
from policy.journal import Finish
from policy.names import CustomerName, GroupName, RequestId, SiteId, Version
from policy.permissions import freshet
from policy.request import Outcome, Status
from policy.wish import Wish
from tasks import manage
from tasks.begin_campaign import GroupWish, begin_campaign
from tasks.campaign_view import campaign_view
from tasks.campaigns import advance_campaigns, change_campaign
from tasks.check_may_start import check_may_start
from tasks.claim import claim
from tasks.display import PlainDisplay
from tasks.reschedule import reschedule
from tasks.submit import submit
from tests.integration.at_once import at_once
from tests.integration.request_worlds import ENGINEER, LI, NOW, THURSDAY_WINDOW, WEEK, RequestWorld

COASTAL = GroupName("coastal")
BAY, COVE, DUNE, HARBOR = (CustomerName(name) for name in ("bay", "cove", "dune", "harbor"))
QUARTER, DAY = timedelta(minutes=15), timedelta(days=1)
ON_CALL = "on-call@hosting.example.org"


def begin(world: RequestWorld, **more: Any) -> str:  # noqa: ANN401 - the wish's fields
    wish = GroupWish(group=COASTAL, version=Version("26.5.0"), **({"canaries": [COVE]} | more))
    return begin_campaign(world.world, world.principal(ENGINEER), wish).campaign.name


def progress(world: RequestWorld, name: str) -> dict[str, str]:
    return {m["customer"]: m["progress"] for m in campaign_view(world.world, name)["customers"]}


def request_of(world: RequestWorld, name: str, customer: CustomerName) -> RequestId:
    with world.world.ledger.transaction() as connection:
        number = campaigns.get(connection, name).campaign.member(customer).request
    assert number is not None
    return number


def round_at(world: RequestWorld, at: Any) -> int:  # noqa: ANN401 - a moment
    world.clock.at = at
    done = advance_campaigns(world.world)
    world.plan_at(at)
    return done


def test_canaries_first_then_ring_after_ring_each_in_the_window(world: RequestWorld) -> None:
    name = begin(world, ring_sizes=[1])
    assert round_at(world, NOW) == 1
    assert progress(world, name) == {
        "cove": "under way",
        "bay": "waiting",
        "dune": "waiting",
        "harbor": "waiting",
    }
    canary = request_of(world, name, COVE)
    assert world.get(canary).scheduled_for == THURSDAY_WINDOW
    assert world.get(canary).campaign == name
    world.clock.at = THURSDAY_WINDOW
    world.carry_out(canary, took=QUARTER)
    assert round_at(world, THURSDAY_WINDOW + QUARTER) == 0
    assert campaign_view(world.world, name)["stage"] == "soaking"
    assert round_at(world, THURSDAY_WINDOW + QUARTER + DAY) == 1
    bay = request_of(world, name, BAY)
    assert world.get(bay).scheduled_for == THURSDAY_WINDOW + WEEK
    world.clock.at = THURSDAY_WINDOW + WEEK
    world.carry_out(bay, took=QUARTER)
    assert round_at(world, THURSDAY_WINDOW + WEEK + 2 * DAY) == 2
    world.clock.at = THURSDAY_WINDOW + 2 * WEEK
    for customer in (DUNE, HARBOR):
        world.carry_out(request_of(world, name, customer), took=QUARTER)
    round_at(world, world.clock.at)
    shown = campaign_view(world.world, name)
    assert (shown["stage"], shown["counts"]) == ("done", {"done": 4})
    assert shown["done_at"] is not None
    assert [m["took_min"] for m in shown["customers"]] == [15.0] * 4
    told = [receiver for kind, receiver in world.mails() if kind == "campaign"]
    assert sorted(told) == sorted([ENGINEER, ON_CALL])
    # The engineer is told of the whole, the group's contact of every customer.
    assert {receiver for _, receiver in world.mails(canary)} == {LI}
    with pytest.raises(Refused, match="is over"):
        change_campaign(world.world, world.principal(ENGINEER), name, "pause", "x", lambda c: c.pause("x"))


def test_a_failed_canary_stops_everybody_until_an_engineer_resumes(world: RequestWorld) -> None:
    name = begin(world)
    round_at(world, NOW)
    world.clock.at = THURSDAY_WINDOW
    world.carry_out(request_of(world, name, COVE), Finish.PUT_BACK, took=QUARTER)
    round_at(world, THURSDAY_WINDOW + 2 * DAY)
    shown = campaign_view(world.world, name)
    assert shown["stage"] == "stopped by the breaker"
    assert shown["stopped_because"] == "1 of the first ring failed (cove)"
    assert [kind for kind, _ in world.mails()].count("campaign") == 2
    assert round_at(world, THURSDAY_WINDOW + 3 * DAY) == 0
    assert [kind for kind, _ in world.mails()].count("campaign") == 2
    who = world.principal(ENGINEER)
    with pytest.raises(Refused, match="reason"):
        change_campaign(world.world, who, name, "resume", "", lambda c: c.resume(" "))
    change_campaign(world.world, who, name, "resume", "Typing error", lambda c: c.resume("Typing error"))
    assert round_at(world, THURSDAY_WINDOW + 3 * DAY) == 2
    assert progress(world, name)["cove"] == "put back"


def started_ring(world: RequestWorld, **more: Any) -> str:  # noqa: ANN401 - the wish's fields
    """A campaign whose canary is done and whose three others have their dates."""
    name = begin(world, parallel=3, **more)
    round_at(world, NOW)
    world.clock.at = THURSDAY_WINDOW
    world.carry_out(request_of(world, name, COVE), took=QUARTER)
    assert round_at(world, THURSDAY_WINDOW + 2 * DAY) == 3
    return name


def test_the_breaker_holds_back_what_has_a_date_and_lets_it_go_again(world: RequestWorld) -> None:
    name = started_ring(world, breaker=Breaker(failures=1))
    night = THURSDAY_WINDOW + WEEK
    world.clock.at = night
    world.carry_out(request_of(world, name, BAY), Finish.PUT_BACK, took=QUARTER)
    held = [request_of(world, name, customer) for customer in (DUNE, HARBOR)]
    assert round_at(world, world.clock.at) == 2
    for number in held:
        request = world.get(number)
        assert (request.status, request.scheduled_for) == (Status.DEFERRED, None)
        assert "on hold" in request.reason
        assert "bay" not in request.reason.lower()
        assert world.mails(number)[-1] == ("deferred", LI)
    assert round_at(world, world.clock.at + QUARTER) == 0
    who = world.principal(ENGINEER)
    change_campaign(world.world, who, name, "resume", "Seen", lambda c: c.resume("Seen"))
    assert round_at(world, world.clock.at + QUARTER) == 2
    assert {world.get(number).status for number in held} <= {Status.SCHEDULED, Status.TO_BE_SCHEDULED}


def test_one_failure_stops_nobody_before_the_breaker_does(world: RequestWorld) -> None:
    name = started_ring(world, breaker=Breaker(failures=2))
    world.clock.at = THURSDAY_WINDOW + WEEK
    world.carry_out(request_of(world, name, BAY), Finish.PUT_BACK, took=QUARTER)
    round_at(world, world.clock.at)
    world.carry_out(request_of(world, name, DUNE), took=QUARTER)
    round_at(world, world.clock.at)
    assert campaign_view(world.world, name)["stage"] == "running"
    assert progress(world, name) == {
        "cove": "done",
        "bay": "put back",
        "dune": "done",
        "harbor": "under way",
    }
    # Put back, looked at, tried again by an engineer: the campaign follows.
    manage.retry(world.world, request_of(world, name, BAY), None)
    round_at(world, world.clock.at)
    assert progress(world, name)["bay"] == "under way"


def test_a_hold_of_an_engineer_is_not_the_campaigns_to_lift(world: RequestWorld) -> None:
    name = started_ring(world)
    number = request_of(world, name, DUNE)
    manage.defer(world.world, number, None, "Exams")
    assert round_at(world, world.clock.at + QUARTER) == 0
    assert world.get(number).status is Status.DEFERRED


def test_a_stuck_customer_is_followed_until_it_is_cleared(world: RequestWorld) -> None:
    name = started_ring(world)
    number = request_of(world, name, DUNE)
    world.clock.at = THURSDAY_WINDOW + WEEK
    world.carry_out(number, Finish.STUCK, took=QUARTER)
    round_at(world, world.clock.at)
    assert progress(world, name)["dune"] == "stuck"
    manage.clear(world.world, number, "Finished by hand", finished=True)
    round_at(world, world.clock.at)
    assert progress(world, name)["dune"] == "done"


def test_contacts_follow_their_part_but_cannot_move_it_and_it_may_start(world: RequestWorld) -> None:
    name = begin(world)
    round_at(world, NOW)
    number = request_of(world, name, COVE)
    calls: list[Callable[[], object]] = [
        lambda: manage.cancel(world.world, number, LI, ""),
        lambda: reschedule(world.world, number, LI, "2026-12-03 00:30", ""),
    ]
    for call in calls:
        with pytest.raises(Refused, match="part of its group's upgrade"):
            call()
    world.clock.at = THURSDAY_WINDOW
    with claim(world.world, number, PlainDisplay().say) as hold:
        assert check_may_start.do(hold)["window_ends"] == "2026-11-26T08:30:00+00:00"


def test_who_cannot_be_taken_is_left_out_with_the_reason(world: RequestWorld) -> None:
    world.install("dune/live", "26.5.0")
    name = begin(world, excluded={HARBOR: "Audit until March"})
    shown = {m["customer"]: m for m in campaign_view(world.world, name)["customers"]}
    assert shown["harbor"]["reason"] == "Audit until March"
    assert "already runs 26.5.0" in shown["dune"]["reason"]
    assert progress(world, name) == {
        "cove": "waiting",
        "bay": "waiting",
        "dune": "excluded",
        "harbor": "excluded",
    }
    who = world.principal(ENGINEER)
    change_campaign(world.world, who, name, "include", "", lambda c: c.include(HARBOR))
    assert progress(world, name)["harbor"] == "waiting"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"group": GroupName("nowhere")}, "group"),
        ({"version": Version("24.0.0")}, "version"),
        ({"version": Version("27.0.0")}, "version"),
        ({"parallel": 0}, "parallel"),
        ({"ring_sizes": [0]}, "rings"),
        ({"canaries": [CustomerName("lakeside")]}, "canaries"),
        ({"excluded": {CustomerName("lakeside"): "x"}}, "customer"),
        ({"breaker": Breaker(failures=0)}, "breaker"),
    ],
)
def test_a_wrong_group_upgrade_is_refused_whole(
    world: RequestWorld, more: dict[str, Any], field: str
) -> None:
    wish = GroupWish(**({"group": COASTAL, "version": Version("26.5.0")} | more))
    with pytest.raises(Refused, match=f"^{field}: "):
        begin_campaign(world.world, world.principal(ENGINEER), wish)
    assert world.rows("campaign", "campaign_member", "event") == {
        "campaign": 0,
        "campaign_member": 0,
        "event": 0,
    }


def test_only_engineers_and_only_one_at_a_time(world: RequestWorld) -> None:
    wish = GroupWish(group=COASTAL, version=Version("26.5.0"))
    with pytest.raises(Refused, match="may not run a group's upgrade"):
        begin_campaign(world.world, world.principal(LI), wish)
    begin(world)
    with pytest.raises(Refused, match="has an open upgrade already"):
        begin(world)


def test_two_dispatchers_and_a_crash_ask_for_each_customer_once(world: RequestWorld) -> None:
    name = begin(world, canaries=[BAY, COVE, DUNE, HARBOR], parallel=4)
    # As if the dispatcher had been killed between the request's commit and the campaign's.
    wish = Wish(site=SiteId.parse("bay/production"), version=Version("26.5.0"), refresh=False)
    orphan = submit(world.world, wish, freshet(ENGINEER), campaign=name).request.id
    at_once(*[partial(advance_campaigns, world.world)] * 3)
    with world.world.ledger.transaction() as connection:
        asked = [request.site.customer for request in requests.find(connection)]
    assert sorted(asked) == [BAY, COVE, DUNE, HARBOR]
    assert request_of(world, name, BAY) == orphan


def test_a_missed_window_is_planned_again_and_a_cancelled_part_is_left_out(world: RequestWorld) -> None:
    name = begin(world)
    round_at(world, NOW)
    number = request_of(world, name, COVE)
    round_at(world, THURSDAY_WINDOW + DAY)
    assert world.get(number).scheduled_for == THURSDAY_WINDOW + WEEK
    cancelled = manage.cancel(world.world, number, None, "Contract ended")
    assert cancelled.outcome is Outcome.CANCELLED
    round_at(world, THURSDAY_WINDOW + 2 * DAY)
    assert progress(world, name)["cove"] == Progress.EXCLUDED
    assert progress(world, name)["bay"] == "under way"
