"""Estimates: the prior while little is known, the site's own history afterwards, never optimistic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from policy.durations import PRIORS, Observation, Phase, estimate, quantile
from policy.names import SiteId
from policy.request import Kind

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SITE, OTHER = SiteId.parse("lakeside/staging"), SiteId.parse("hillcrest/staging")
GB = 10**9


def seen(
    minutes: float,
    *,
    size: int = 10 * GB,
    days_ago: int = 1,
    site: SiteId = SITE,
    phase: Phase = Phase.WORK,
    kind: Kind = Kind.UPGRADE,
) -> Observation:
    return Observation(
        site=site,
        kind=kind,
        phase=phase,
        took=timedelta(minutes=minutes),
        size=size,
        at=NOW - timedelta(days=days_ago),
    )


def test_without_history_the_prior_decides_and_is_cautious() -> None:
    found = estimate(Kind.UPGRADE, SITE, 10 * GB, [])
    prior = PRIORS[Kind.UPGRADE, Phase.WORK].at(10 * GB)
    assert found.likely == prior
    assert found.expected == 2 * prior
    assert found.observations == 0
    assert found.needed == found.expected + found.put_back


def test_ten_own_measurements_outweigh_the_prior() -> None:
    history = [seen(30 + n) for n in range(10)]
    found = estimate(Kind.UPGRADE, SITE, 10 * GB, history)
    assert found.likely == timedelta(minutes=34)
    assert found.expected == timedelta(minutes=38)
    assert found.observations == 10


def test_one_slow_measurement_is_not_hidden_by_the_prior() -> None:
    slow = PRIORS[Kind.UPGRADE, Phase.WORK].at(10 * GB) * 3
    found = estimate(Kind.UPGRADE, SITE, 10 * GB, [seen(slow / timedelta(minutes=1))])
    assert found.expected == slow


def test_history_of_a_smaller_database_grows_with_it() -> None:
    history = [seen(9.16, size=10 * GB) for _ in range(10)]
    small = estimate(Kind.UPGRADE, SITE, 10 * GB, history)
    large = estimate(Kind.UPGRADE, SITE, 100 * GB, history)
    assert small.likely == timedelta(minutes=9.16)
    assert timedelta(minutes=45) < large.likely < timedelta(minutes=47)


def test_only_the_site_the_kind_and_the_newest_count() -> None:
    others = [seen(500, site=OTHER), seen(500, kind=Kind.REFRESH), seen(500, phase=Phase.PUT_BACK)]
    old = [seen(500, days_ago=400 + n) for n in range(30)]
    recent = [seen(20, days_ago=n) for n in range(1, 31)]
    found = estimate(Kind.UPGRADE, SITE, 10 * GB, [*recent, *old, *others])
    assert found.expected == timedelta(minutes=20)
    assert found.put_back >= timedelta(minutes=500)


def test_an_upgrade_with_a_refresh_takes_both() -> None:
    alone = estimate(Kind.UPGRADE, SITE, GB, [])
    both = estimate(Kind.UPGRADE, SITE, GB, [], refresh_too=True)
    refresh = estimate(Kind.REFRESH, SITE, GB, [])
    assert both.expected == alone.expected + refresh.expected
    assert both.put_back == alone.put_back


@given(
    minutes=st.lists(st.floats(0.01, 600), max_size=40),
    size=st.integers(0, 10**12),
    kind=st.sampled_from(Kind),
)
def test_estimates_are_ordered_and_never_nothing(minutes: list[float], size: int, kind: Kind) -> None:
    history = [seen(m, kind=kind, days_ago=n, size=GB) for n, m in enumerate(minutes, start=1)]
    found = estimate(kind, SITE, size, history)
    assert timedelta(minutes=1) <= found.likely <= found.expected
    assert found.put_back >= timedelta(minutes=1)
    assert estimate(kind, SITE, 2 * size + 1, history).expected >= found.expected


@given(values=st.lists(st.floats(0, 100), min_size=1, max_size=50), share=st.floats(0.01, 1))
def test_a_quantile_covers_its_share(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1e-6
    smaller = [v for v in values if v < found]
    assert len(smaller) < share * len(values) + 1e-6
