"""The pause switch as a decision: what a pause holds back, and when everything under it has come to rest.

Invariant: a pause holds back what has not begun; what has begun is brought to its end. A pause always has a
reason, and whoever waits because of it is told that reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from policy.errors import Refused
from policy.estate import Estate
from policy.names import SiteId

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Pause:
    """One pause that holds.

    Attributes:
        scope: `all`, `group:coastal`, `customer:lakeside` or `server:trial`.
        until: when it ends by itself; None until somebody lifts it.
    """

    scope: str
    reason: str
    by: str
    at: datetime
    until: datetime | None = None

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise Refused("reason: say why the queue is paused; everybody who waits is shown it")

    def holds(self, now: datetime) -> bool:
        """Whether it still holds at `now`."""
        return self.until is None or now < self.until

    @property
    def sentence(self) -> str:
        """What a waiting request says about it."""
        what = "everything is" if self.scope == ALL else f"{self.scope.replace(':', ' ')} is"
        return f"{what} paused by {self.by}: {self.reason}"


def scopes_of(estate: Estate, site: SiteId) -> frozenset[str]:
    """Every scope whose pause holds work on `site` back."""
    customer = estate.customer(site.customer)
    scopes = {ALL, f"customer:{customer.name}"}
    if customer.group is not None:
        scopes.add(f"group:{customer.group}")
    scopes.update(f"server:{served.server}" for served in estate.served_by(estate.webapp(site)))
    return frozenset(scopes)


def applying(pauses: Iterable[Pause], scopes: frozenset[str], now: datetime) -> Pause | None:
    """The pause that holds back work with `scopes` for the longest, or None."""
    found = [pause for pause in pauses if pause.scope in scopes and pause.holds(now)]
    return max(found, key=lambda p: (p.until is None, p.until or p.at, p.scope), default=None)


def drained(pauses: Iterable[Pause], running: Iterable[frozenset[str]], now: datetime) -> bool:
    """Whether nothing under any of `pauses` runs any more, so that maintenance may begin.

    Args:
        pauses: the pauses that were set.
        running: the scopes of each run under way.
        now: the present instant.
    """
    held = list(pauses)
    return all(applying(held, scopes, now) is None for scopes in running)
