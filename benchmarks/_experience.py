"""What a simulated Freshet has learnt about durations, as the ledger's observations would tell it.

Invariant: nothing is known before it was seen, and of each site only the last forty pieces of work.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from policy.durations import Estimate, Observation, Phase, estimate
from policy.names import SiteId
from policy.request import Kind

REMEMBERED = 40


class Experience:
    """How long work took so far.

    Args:
        size: bytes of a site's databases, which is known before.
    """

    def __init__(self, size: Callable[[SiteId], int]) -> None:
        self._size = size
        self._history: dict[SiteId, list[Observation]] = {}

    def expects(self, kind: Kind, site: SiteId) -> Estimate:
        """How long work of `kind` on `site` will take."""
        return estimate(kind, site, self._size(site), self._history.get(site, []))

    def saw(self, kind: Kind, site: SiteId, phase: Phase, took: timedelta, at: datetime) -> None:
        """Take note that it took so long."""
        seen = Observation(site=site, kind=kind, phase=phase, took=took, size=self._size(site), at=at)
        self._history[site] = [*self._history.get(site, []), seen][-REMEMBERED:]
