"""The pause switch: scopes, reasons, ends, and drain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from policy.errors import Refused
from policy.names import Environment, SiteId
from policy.pause import Pause, applying, drained, scopes_of
from tests.unit.rights_estate import IN_STATE, PLAIN, estate

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def pause(scope: str, until: datetime | None = None) -> Pause:
    return Pause(scope=scope, reason="storage is being replaced", by="dana", at=NOW, until=until)


def test_a_site_is_held_back_by_everything_it_stands_on() -> None:
    assert scopes_of(estate(), SiteId(IN_STATE, Environment.SANDBOX)) == {
        "all",
        "customer:riverton",
        "group:northern",
        # The Sandbox shares its web application, and with it the pause of Production's server.
        "server:live",
        "server:trial",
    }
    assert scopes_of(estate(), SiteId(PLAIN, Environment.STAGING)) == {
        "all",
        "customer:lakeside",
        "server:trial",
    }


def test_the_pause_that_lasts_longest_is_told() -> None:
    soon, later, open_end = (
        pause("all", NOW + timedelta(hours=1)),
        pause("customer:lakeside", NOW + timedelta(hours=2)),
        pause("server:trial"),
    )
    scopes = frozenset({"all", "customer:lakeside", "server:trial"})
    assert applying([soon, later], scopes, NOW) == later
    assert applying([soon, open_end, later], scopes, NOW) == open_end
    assert applying([soon, later], scopes, NOW + timedelta(hours=2)) is None
    assert applying([soon], frozenset({"server:trial"}), NOW) is None


def test_a_pause_has_a_reason_that_is_shown() -> None:
    with pytest.raises(Refused, match="reason: say why"):
        Pause(scope="all", reason=" ", by="dana", at=NOW)
    assert pause("all").sentence == "everything is paused by dana: storage is being replaced"
    assert pause("server:trial").sentence.startswith("server trial is paused by dana")


def test_drained_when_nothing_under_the_pause_runs_any_more() -> None:
    on_trial, elsewhere = frozenset({"all", "server:trial"}), frozenset({"all", "server:live"})
    assert not drained([pause("server:trial")], [on_trial, elsewhere], NOW)
    assert drained([pause("server:trial")], [elsewhere], NOW)
    assert not drained([pause("all")], [elsewhere], NOW)
    assert drained([pause("all")], [], NOW)
