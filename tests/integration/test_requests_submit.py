"""Wishes at the door: what becomes a request, what is refused with its field named and nothing written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from policy.errors import Refused
from policy.names import EmailAddress, RequestId, SiteId, Version
from policy.permissions import freshet
from policy.request import Outcome, Status
from policy.wish import Wish
from tasks.submit import submit
from tests.integration.at_once import at_once
from tests.integration.request_worlds import (
    DANA,
    ENGINEER,
    LI,
    LIVE,
    MO,
    NOW,
    PAT,
    SANDBOX,
    STAGING,
    SUNDAY_WINDOW,
    RequestWorld,
)

CHICAGO = ZoneInfo("America/Chicago")
WRITTEN = ("request", "event", "outbox", "intake", "eta")


def test_a_refresh_is_asked_for_planned_and_told(world: RequestWorld) -> None:
    number = world.ask(SANDBOX, by=DANA)
    assert world.get(number).status is Status.TO_BE_SCHEDULED
    assert world.plan_at(NOW) == 1
    request = world.get(number)
    assert (request.status, request.scheduled_for, request.start_by) == (Status.SCHEDULED, NOW, None)
    assert world.verbs(number) == ["submit", "schedule"]
    assert world.mails(number) == [("accepted", DANA), ("scheduled", DANA)]
    assert world.plan_at(NOW) == 0
    assert world.mails(number) == [("accepted", DANA), ("scheduled", DANA)]


def test_an_upgrade_waits_for_its_window_and_carries_its_start_by(world: RequestWorld) -> None:
    number = world.ask(LIVE, by=DANA, version="26.5.0")
    world.plan_at(NOW)
    request = world.get(number)
    assert (request.status, request.scheduled_for) == (Status.SCHEDULED, SUNDAY_WINDOW)
    assert request.start_by is not None
    assert SUNDAY_WINDOW + timedelta(hours=4) < request.start_by < SUNDAY_WINDOW + timedelta(hours=5)


def test_the_time_asked_for_is_kept_to_the_second_and_told_once(world: RequestWorld) -> None:
    at = datetime(2026, 11, 22, 2, 0, 30)  # noqa: DTZ001 - local to the zone beside it
    number = world.ask(SANDBOX, by=DANA, at=at, zone=CHICAGO)
    for minutes in range(4):
        world.plan_at(NOW + timedelta(minutes=minutes))
    request = world.get(number)
    assert request.not_before == datetime(2026, 11, 22, 8, 0, 30, tzinfo=UTC)
    assert request.scheduled_for == datetime(2026, 11, 22, 8, 1, tzinfo=UTC)
    assert request.start_by == request.not_before + timedelta(hours=4)
    assert world.verbs(number) == ["submit", "schedule"]


def test_a_newer_version_takes_over_the_older_request_and_its_refresh(world: RequestWorld) -> None:
    world.install("lakeside/staging", "23.1.0")
    older = world.ask(STAGING, by=DANA, version="24.1.1", refresh=True)
    world.plan_at(NOW)
    submitted = world.submit(STAGING, by=ENGINEER, version="26.5.0")
    assert submitted.superseded == older
    assert submitted.request.refresh is True
    gone = world.get(older)
    assert (gone.status, gone.outcome) == (Status.NEW_VERSION_REQUESTED, Outcome.SUPERSEDED)
    assert ("superseded", DANA) in world.mails(older)
    assert ("accepted", DANA) in world.mails(submitted.request.id)
    assert ("accepted", ENGINEER) in world.mails(submitted.request.id)
    with world.world.ledger.transaction() as connection:
        row = connection.execute("select superseded_by from request where number = 1").fetchone()
    assert row == {"superseded_by": submitted.request.id.number}
    with pytest.raises(Refused, match="already has a waiting upgrade"):
        world.ask(STAGING, version="24.1.1")


def test_an_older_version_does_not_take_over(world: RequestWorld) -> None:
    world.ask(LIVE, by=DANA, version="26.5.0")
    before = world.rows(*WRITTEN)
    with pytest.raises(Refused, match="already has a waiting upgrade"):
        world.ask(LIVE, by=DANA, version="24.1.1")
    assert world.rows(*WRITTEN) == before


def local(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("site", "more", "field"),
    [
        ("nowhere/sandbox", {}, "customer"),
        ("lakeside/preview", {}, "site"),
        ("lakeside/production", {}, "site"),
        ("lakeside/production", {"version": "26.5.0", "refresh": True}, "site"),
        ("lakeside/sandbox", {"version": "26.5.0"}, "site"),
        ("lakeside/production", {"version": "24.0.0"}, "version"),
        ("lakeside/production", {"version": "23.1.0"}, "version"),
        ("lakeside/production", {"version": "27.0.0"}, "version"),
        ("lakeside/production", {"version": "99.9"}, "version"),
        ("lakeside/sandbox", {"refresh": False}, "refresh"),
        ("lakeside/sandbox", {"at": local("2026-11-22T02:00")}, "at"),
        ("lakeside/sandbox", {"at": NOW - timedelta(minutes=1)}, "at"),
        ("lakeside/sandbox", {"at": NOW}, "at"),
        ("lakeside/sandbox", {"at": local("2027-03-14T02:30"), "zone": CHICAGO}, "at"),
        ("lakeside/sandbox", {"at": NOW + timedelta(days=900)}, "at"),
        ("lakeside/sandbox", {"note": "bell \x07"}, "note"),
        ("lakeside/sandbox", {"note": "x" * 2001}, "note"),
    ],
)
def test_bad_input_is_refused_by_its_field_and_nothing_is_written(
    world: RequestWorld, site: str, more: dict[str, object], field: str
) -> None:
    before = world.rows(*WRITTEN)
    with pytest.raises(Refused) as refused:
        world.submit(SiteId.parse(site), by=ENGINEER, **more)  # type: ignore[arg-type]  # any field of a wish
    assert any(finding.startswith(f"{field}: ") for finding in refused.value.findings), refused.value.findings
    assert all(";" in finding or "it has" in finding for finding in refused.value.findings)
    assert world.rows(*WRITTEN) == before


def test_every_finding_is_told_at_once(world: RequestWorld) -> None:
    with pytest.raises(Refused) as refused:
        world.submit(LIVE, version="24.0.0", refresh=True, at=NOW - timedelta(days=1), note="\x00")
    fields = {finding.partition(":")[0] for finding in refused.value.findings}
    assert fields == {"site", "version", "at", "note"}


@pytest.mark.parametrize(
    ("email", "site", "version", "allowed"),
    [
        (DANA, "lakeside/sandbox", None, True),
        (DANA, "lakeside/production", "26.5.0", True),
        (DANA, "harbor/sandbox", None, False),
        (LI, "harbor/sandbox", None, True),
        (LI, "harbor/production", "26.5.0", False),
        (LI, "lakeside/sandbox", None, False),
        (PAT, "ridge/production", "26.5.0", True),
        (PAT, "harbor/sandbox", None, False),
        (MO, "mesa/sandbox", None, True),
        (MO, "mesa/production", "26.5.0", False),
        (MO, "mesa/staging", "26.5.0", True),
        (ENGINEER, "harbor/production", "26.5.0", False),
        (ENGINEER, "mesa/production", "26.5.0", True),
        (ENGINEER, "ridge/sandbox", None, True),
    ],
)
def test_who_may_ask_for_what(
    world: RequestWorld, email: EmailAddress, site: str, version: str | None, *, allowed: bool
) -> None:
    if allowed:
        assert world.ask(SiteId.parse(site), by=email, version=version) == RequestId("R1")
        return
    with pytest.raises(Refused):
        world.ask(SiteId.parse(site), by=email, version=version)
    assert world.rows("request", "outbox") == {"request": 0, "outbox": 0}


def test_only_freshet_itself_upgrades_a_grouped_customer(world: RequestWorld) -> None:
    wish = Wish(site=SiteId.parse("harbor/production"), version=Version("26.5.0"), refresh=False)
    assert submit(world.world, wish, freshet(ENGINEER)).request.id == RequestId("R1")


def test_an_unknown_address_is_nobody(world: RequestWorld) -> None:
    with pytest.raises(Refused, match="as: no contact"):
        world.ask(SANDBOX, by=EmailAddress("eve@elsewhere.example.org"))


def test_the_same_message_at_the_same_moment_gives_one_request(world: RequestWorld) -> None:
    principal = world.principal(DANA)
    wish = Wish(site=SANDBOX, version=None, refresh=True, message_digest="d" * 64)
    found: list[tuple[RequestId, bool]] = []

    def send() -> None:
        submitted = submit(world.world, wish, principal)
        found.append((submitted.request.id, submitted.repeated))

    at_once(*[send] * 6)
    assert sorted(found) == [(RequestId("R1"), False)] + [(RequestId("R1"), True)] * 5
    assert world.rows("request", "intake") == {"request": 1, "intake": 1}
