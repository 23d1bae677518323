"""A wish is judged as a whole: every finding at once, each naming its field and the remedy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from policy.estate import Estate
from policy.names import EmailAddress, Environment, SiteId, Version
from policy.permissions import Action, engineer, freshet, principal_of
from policy.releases import choices, due_security, mandatory, rank
from policy.request import Kind, Request, Status
from policy.submission import START_WITHIN, Origin, asked_times, check_change, check_start, check_submission
from policy.windows import Override
from policy.wish import Wish
from tests.asked import asked_for
from tests.estate_parts import CHICAGO
from tests.unit.rights_estate import (
    CLOUD,
    CLOUD_CONTACT,
    ENGINEER,
    IN_STATE,
    PLAIN,
    PLAIN_CONTACT,
    STATE_CONTACT,
    estate,
)

ESTATE = estate()
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIVE, STAGING = f"{PLAIN}/live", f"{PLAIN}/staging"
INSTALLED = {
    f"{customer}/{webapp}": Version("23.1.0")
    for customer in ESTATE.customers
    for webapp in ("live", "staging")
}
ANN = principal_of(ESTATE, PLAIN_CONTACT)
PRODUCTION = SiteId(PLAIN, Environment.PRODUCTION)
SANDBOX = SiteId(PLAIN, Environment.SANDBOX)
STAGE = SiteId(PLAIN, Environment.STAGING)
TONIGHT = datetime.fromisoformat("2026-11-22 02:00")


def judge(wish: Wish, principal: object = ANN, on: Estate = ESTATE, **changes: object) -> tuple[str, ...]:
    return check_submission(on, principal, wish, INSTALLED, NOW, **changes)  # type: ignore[arg-type]  # any argument


def fields(findings: tuple[str, ...]) -> list[str]:
    return [finding.partition(":")[0] for finding in findings]


@pytest.mark.parametrize(
    "wish",
    [
        Wish(site=SANDBOX, version=None, refresh=True, at=TONIGHT, zone=CHICAGO),
        Wish(site=STAGE, version=None, refresh=True),
        Wish(site=STAGE, version=Version("26.5.0"), refresh=True),
        Wish(site=PRODUCTION, version=Version("25.0.3"), refresh=False, at=NOW + timedelta(days=3)),
    ],
)
def test_good_wishes_have_no_finding(wish: Wish) -> None:
    assert judge(wish) == ()


@pytest.mark.parametrize(
    ("wish", "field", "words"),
    [
        (Wish(site=SiteId(CLOUD, Environment.STAGING), version=None, refresh=True), "customer", "lakeside"),
        (Wish(site=SiteId(PLAIN, Environment.PREVIEW), version=None, refresh=True), "site", "has no preview"),
        (Wish(site=PRODUCTION, version=None, refresh=True), "site", "choose Sandbox"),
        (Wish(site=STAGE, version=None, refresh=False), "refresh", "nothing is asked for"),
        (Wish(site=STAGE, version=Version("25.0.1"), refresh=False), "version", "ask for 25.0.3"),
        (Wish(site=STAGE, version=Version("23.1.0"), refresh=False), "version", "already runs"),
        (Wish(site=STAGE, version=Version("27.0.0"), refresh=False), "version", "is not published"),
        (Wish(site=STAGE, version=Version("9.9.9"), refresh=False), "version", "25.0.3, 26.5.0"),
        (Wish(site=SANDBOX, version=Version("26.5.0"), refresh=False), "site", "lakeside/production"),
        (Wish(site=STAGE, version=None, refresh=True, at=TONIGHT), "at", "has no zone"),
        (
            Wish(site=STAGE, version=None, refresh=True, at=NOW - timedelta(minutes=1)),
            "at",
            "is past",
        ),
        (
            Wish(
                site=STAGE,
                version=None,
                refresh=True,
                at=datetime.fromisoformat("2027-03-14 02:30"),
                zone=CHICAGO,
            ),
            "at",
            "does not exist",
        ),
    ],
)
def test_each_mistake_names_its_field_and_the_remedy(wish: Wish, field: str, words: str) -> None:
    findings = judge(wish)
    assert fields(findings) == [field]
    assert words in findings[0]


def test_every_mistake_is_told_at_once() -> None:
    wish = Wish(site=SANDBOX, version=Version("25.0.1"), refresh=True, at=TONIGHT)
    assert fields(judge(wish)) == ["site", "version", "at"]
    production = Wish(site=PRODUCTION, version=Version("23.1.0"), refresh=True, at=NOW, zone=None)
    assert fields(judge(production)) == ["site", "version", "at"]


def test_groups_and_auto_updated_customers() -> None:
    lee, bo = principal_of(ESTATE, STATE_CONTACT), principal_of(ESTATE, CLOUD_CONTACT)
    grouped = Wish(site=SiteId(IN_STATE, Environment.PRODUCTION), version=Version("26.5.0"), refresh=False)
    assert "together with its group" in judge(grouped, lee)[0]
    assert "together with its group" in judge(grouped, engineer(ENGINEER))[0]
    assert judge(grouped, freshet(ENGINEER)) == ()
    cloud = Wish(site=SiteId(CLOUD, Environment.PRODUCTION), version=Version("26.5.0"), refresh=False)
    assert "refresh only" in judge(cloud, bo)[0]
    assert judge(cloud, engineer(ENGINEER)) == ()
    refresh = Wish(site=SiteId(CLOUD, Environment.SANDBOX), version=None, refresh=True)
    assert judge(refresh, bo) == ()
    staging = Wish(site=SiteId(CLOUD, Environment.STAGING), version=Version("26.5.0"), refresh=False)
    assert judge(staging, bo) == ()


def test_a_copy_of_newer_data_under_an_older_application_is_refused() -> None:
    newer = INSTALLED | {LIVE: Version("26.5.0")}
    wish = Wish(site=STAGE, version=None, refresh=True)
    found = check_submission(ESTATE, ANN, wish, newer, NOW)
    assert fields(found) == ["refresh"]
    assert "26.5.0 or newer together with the refresh" in found[0]
    together = replace(wish, version=Version("26.5.0"))
    assert check_submission(ESTATE, ANN, together, newer, NOW) == ()
    # The Sandbox shares Production's web application, so it is never older.
    assert check_submission(ESTATE, ANN, replace(wish, site=SANDBOX), newer, NOW) == ()


def test_an_upgrade_needs_a_window_and_an_override_needs_the_right() -> None:
    windowless = replace(
        ESTATE, customers={**ESTATE.customers, PLAIN: replace(ESTATE.customers[PLAIN], windows=())}
    )
    wish = Wish(site=STAGE, version=Version("26.5.0"), refresh=False)
    assert fields(judge(wish, on=windowless)) == ["at"]
    override = Override(by=ENGINEER, reason="outage of the old release", windows=True)
    assert judge(wish, engineer(ENGINEER), windowless, override=override) == ()
    assert fields(judge(wish, on=windowless, override=override)) == ["action"]


def test_times_of_a_refresh_get_a_start_by() -> None:
    wish = Wish(site=STAGE, version=None, refresh=True, at=TONIGHT, zone=CHICAGO)
    at = datetime(2026, 11, 22, 8, tzinfo=UTC)
    assert asked_times(wish, NOW) == (at, at + START_WITHIN)
    upgrade = replace(wish, version=Version("26.5.0"))
    assert asked_times(upgrade, NOW) == (at, None)
    assert asked_times(replace(wish, at=None), NOW) == (None, None)


def request(**changes: object) -> Request:
    plain = asked_for(
        "R7",
        STAGE,
        at=NOW,
        kind=Kind.UPGRADE,
        version=Version("25.0.3"),
        refresh=False,
        asked_by=PLAIN_CONTACT,
        scheduled_for=NOW + timedelta(days=1),
        status=Status.SCHEDULED,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # any field


def test_rights_and_releases_are_checked_again_at_the_start() -> None:
    assert check_start(ESTATE, ANN, request(), INSTALLED, NOW) == ()
    gone = replace(ESTATE, releases=ESTATE.releases[:2])
    assert fields(check_start(gone, ANN, request(), INSTALLED, NOW)) == ["version"]
    other = principal_of(ESTATE, CLOUD_CONTACT)
    assert fields(check_start(ESTATE, other, request(), INSTALLED, NOW)) == ["customer"]
    done = INSTALLED | {STAGING: Version("25.0.3")}
    assert "already runs" in check_start(ESTATE, ANN, request(), done, NOW)[0]
    # A newer pack that came out meanwhile does not turn down what was accepted.
    newer = replace(request(), version=Version("25.0.1"))
    assert check_start(ESTATE, ANN, newer, INSTALLED, NOW) == ()
    undo = replace(request(), kind=Kind.UNDO, version=None)
    assert check_start(ESTATE, ANN, undo, INSTALLED, NOW) == ()
    assert fields(check_start(ESTATE, other, undo, INSTALLED, NOW)) == ["customer"]


def test_an_automatic_date_can_be_refused_until_the_cut_off_and_a_mandatory_one_never() -> None:
    automatic = Origin(automatic=True)
    for action in (Action.MOVE, Action.CANCEL):
        assert check_change(ESTATE, ANN, request(), action, NOW, origin=automatic) == ()
        late = NOW + timedelta(hours=13)
        assert "12 hours before" in check_change(ESTATE, ANN, request(), action, late, origin=automatic)[0]
        assert check_change(ESTATE, ANN, request(), action, late) == (), "what was asked for can be cancelled"
        security = request(version=Version("26.5.0"))
        assert "mandatory" in check_change(ESTATE, ANN, security, action, NOW, origin=automatic)[0]
        assert check_change(ESTATE, engineer(ENGINEER), security, action, late, origin=automatic) == ()
        campaign = Origin(campaign="northern 26.5.0")
        assert "group's upgrade" in check_change(ESTATE, ANN, request(), action, NOW, origin=campaign)[0]
    assert fields(check_change(ESTATE, ANN, request(), Action.DEFER, NOW)) == ["action"]
    assert check_change(ESTATE, ANN, request(), Action.ANSWER, NOW) == ()


def test_choices_are_the_newest_packs_that_are_newer() -> None:
    found = [r.version for r in choices(ESTATE, STAGE, Version("25.0.1"), NOW)]
    assert found == ["25.0.3", "26.5.0"]
    assert [r.version for r in choices(ESTATE, STAGE, Version("26.5.0"), NOW)] == []
    later = datetime(2027, 1, 15, tzinfo=UTC)
    assert [r.version for r in choices(ESTATE, STAGE, Version("26.5.0"), later)] == ["27.0.0"]
    assert mandatory(ESTATE, STAGE, Version("26.5.0"))
    security = due_security(ESTATE, STAGE, Version("23.1.0"), NOW)
    assert security is not None
    assert security.version == "26.5.0"
    assert due_security(ESTATE, STAGE, Version("26.5.0"), NOW) is None


def test_versions_are_ordered_by_their_numbers() -> None:
    assert rank(Version("26.5")) == rank(Version("26.5.0"))
    assert rank(Version("26.10")) > rank(Version("26.9.9"))
    assert rank(Version("26.0")) < rank(Version("26.0.1"))


def test_an_unknown_person_cannot_be_judged_into_a_right() -> None:
    nobody = replace(ANN, email=EmailAddress("x@elsewhere.example.org"), customers=frozenset())
    wish = Wish(site=STAGE, version=None, refresh=True, at=TONIGHT, zone=ZoneInfo("UTC"))
    assert fields(judge(wish, nobody)) == ["customer"]
