"""How long a piece of work will take, so that it is only begun when it and its put-back fit.

Invariant: an estimate is at least a minute, grows with the size of the database, and what is planned with is
never shorter than what people are told. A site's own history and its rehearsals decide; while there is little
of either, what such work takes elsewhere (the prior) is counted in as a few further observations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from policy.names import SiteId
from policy.request import Kind


class Phase(StrEnum):
    """Which part of a run was measured."""

    WORK = "work"
    PUT_BACK = "put_back"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One measured duration.

    Attributes:
        size: bytes of the databases that were worked on, as far as known.
        rehearsal: measured on a copy of the live database instead of the site itself.
    """

    site: SiteId
    kind: Kind
    phase: Phase
    took: timedelta
    size: int | None
    at: datetime
    rehearsal: bool = False


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What such work takes on an ordinary server: a fixed part, and a part that grows with the size."""

    fixed: timedelta
    bytes_per_second: int

    def at(self, size: int) -> timedelta:
        """The typical duration for `size` bytes."""
        return self.fixed + timedelta(seconds=size / self.bytes_per_second)


_MB = 1_000_000
PRIORS: Mapping[tuple[Kind, Phase], Prior] = MappingProxyType(
    {
        (Kind.REFRESH, Phase.WORK): Prior(fixed=timedelta(minutes=2), bytes_per_second=20 * _MB),
        (Kind.REFRESH, Phase.PUT_BACK): Prior(fixed=timedelta(minutes=2), bytes_per_second=2000 * _MB),
        (Kind.UPGRADE, Phase.WORK): Prior(fixed=timedelta(minutes=5), bytes_per_second=40 * _MB),
        (Kind.UPGRADE, Phase.PUT_BACK): Prior(fixed=timedelta(minutes=4), bytes_per_second=80 * _MB),
        (Kind.UNDO, Phase.WORK): Prior(fixed=timedelta(minutes=2), bytes_per_second=2000 * _MB),
        (Kind.UNDO, Phase.PUT_BACK): Prior(fixed=timedelta(minutes=2), bytes_per_second=2000 * _MB),
        (Kind.ENGINE, Phase.WORK): Prior(fixed=timedelta(minutes=10), bytes_per_second=40 * _MB),
        (Kind.ENGINE, Phase.PUT_BACK): Prior(fixed=timedelta(minutes=10), bytes_per_second=80 * _MB),
    }
)

_SPREAD = (0.6, 0.8, 1.0, 1.4, 2.0)
"""How durations scatter around the prior; the extremes give way first to what was really measured."""
_NEWEST = 30
_ENOUGH = 10
_SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What to expect of one piece of work.

    Attributes:
        likely: the median: what to tell people.
        expected: the 90th percentile: what to plan with.
        put_back: the 90th percentile of taking it back after a failure.
        observations: how many of the site's own measurements it rests on.
    """

    likely: timedelta
    expected: timedelta
    put_back: timedelta
    observations: int

    @property
    def needed(self) -> timedelta:
        """What has to be left of a window for the work to be begun."""
        return self.expected + self.put_back


def estimate(
    kind: Kind,
    site: SiteId,
    size: int,
    history: Iterable[Observation],
    *,
    refresh_too: bool = False,
) -> Estimate:
    """What `kind` of work on `site` will take.

    Args:
        kind: what is to be done.
        site: where.
        size: bytes of all databases that are worked on.
        history: measurements of this and other sites, in any order; those of `site` count.
        refresh_too: an upgrade that copies Production into the site first.
    """
    seen = [o for o in history if o.site == site]
    work = _ratios(kind, Phase.WORK, size, seen)
    back = _ratios(kind, Phase.PUT_BACK, size, seen)
    measure = PRIORS[kind, Phase.WORK].at(size)
    likely, expected = measure * quantile(work, 0.5), measure * quantile(work, 0.9)
    if refresh_too and kind is not Kind.REFRESH:
        first = estimate(Kind.REFRESH, site, size, seen)
        likely, expected = likely + first.likely, expected + first.expected
    put_back = PRIORS[kind, Phase.PUT_BACK].at(size) * quantile(back, 0.9)
    return Estimate(
        likely=max(likely, _SHORTEST),
        expected=max(expected, _SHORTEST),
        put_back=max(put_back, _SHORTEST),
        observations=sum(o.kind is kind and o.phase is Phase.WORK for o in seen),
    )


def quantile(values: list[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def _ratios(kind: Kind, phase: Phase, size: int, seen: list[Observation]) -> list[float]:
    """How measured durations compare with the prior for their size, the newest ones, with the prior's own."""
    prior = PRIORS[kind, phase]
    own = sorted((o for o in seen if o.kind is kind and o.phase is phase), key=lambda o: o.at)[-_NEWEST:]
    ratios = [o.took / prior.at(size if o.size is None else o.size) for o in own]
    missing = len(_SPREAD) * max(0, _ENOUGH - len(ratios)) // _ENOUGH
    if missing:
        ratios.extend(sorted(_SPREAD, key=lambda ratio: abs(ratio - 1.0))[:missing])
    return ratios
