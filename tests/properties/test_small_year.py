"""Some weeks of a small hosting company, through both outages' kind of trouble and a change of the clocks."""

from __future__ import annotations

from typing import cast

import pytest

from benchmarks.year import figures


@pytest.mark.parametrize(
    ("customers", "days"), [(25, 50), pytest.param(80, 110, marks=pytest.mark.slow, id="with-the-clocks")]
)
def test_weeks_pass_and_nothing_is_lost_twice_or_missed(customers: int, days: int) -> None:
    """The second run reaches 14 March, when the clocks change; the first has the outage of 14 February."""
    found = figures(customers, days)
    assert cast("int", found["requests"]) > customers
    assert cast("int", found["completed"]) > cast("int", found["requests"]) // 2
    assert found["lost"] == found["twice"] == found["rules_broken"] == 0
    assert found["missed_fitting_windows"] == 0
    assert cast("float", found["eta_error_p50_min"]) < 10
    assert cast("float", found["eta_within_range_share"]) > 0.8
    assert found == figures(customers, days), "the same year twice"
