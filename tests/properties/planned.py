"""Plans of drawn queues, whichever way their timelines count."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from policy.plan import Plan
from policy.planner import Planner
from policy.waiting import Queue


def each(count: int, slow: int) -> list[object]:
    return [count, pytest.param(slow, marks=pytest.mark.slow)]


counted = st.booleans()
"""Whether timelines count by the minute, as for those that hundreds use, or keep a list of shares."""


def planner(queue: Queue, *, counting: bool) -> Planner:
    """A planner whose timelines are all of one kind, however few use them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("policy.board._BUSY_FROM", 1 if counting else 10**6)
        return Planner(queue)


def plan(queue: Queue, *, counting: bool = False) -> Plan:
    return planner(queue, counting=counting).plan()
