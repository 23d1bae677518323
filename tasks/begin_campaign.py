"""Begin a group's upgrade: who is in it, in which order, and when it stops by itself.

Invariant: nothing is asked for yet; a customer that cannot be taken is left out with its reason, and shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from infra.ledger import campaigns, installed, requests
from infra.ledger.campaigns import Kept
from policy.campaign import Breaker, Campaign, rings
from policy.errors import Refused
from policy.estate import Estate
from policy.names import CustomerName, Environment, GroupName, SiteId, Version
from policy.permissions import Action, Principal, freshet, require
from policy.submission import check_submission
from policy.wish import Wish
from tasks.world import World


@dataclass(frozen=True, kw_only=True)
class GroupWish:
    """A group's upgrade as an engineer asks for it.

    Attributes:
        canaries: the customers that go first; none means the first by name.
        ring_sizes: how many customers are in each following ring; the rest is the last one.
        excluded: who is left out, and why.
    """

    group: GroupName
    version: Version
    environment: Environment = Environment.PRODUCTION
    canaries: Sequence[CustomerName] = ()
    ring_sizes: Sequence[int] = ()
    soak: timedelta = timedelta(hours=24)
    parallel: int = 2
    breaker: Breaker = field(default_factory=Breaker)
    excluded: Mapping[CustomerName, str] = field(default_factory=dict)


def begin_campaign(world: World, who: Principal, wish: GroupWish) -> Kept:
    """Write the campaign; the dispatcher carries it forward.

    Raises:
        Refused: no right to, a wrong field, nobody to upgrade, or the group has an open one.
    """
    estate, now = world.estate(), world.clock.now()
    require(who, Action.CAMPAIGN, estate, None)
    _check(estate, wish)
    customers = [
        name
        for name, customer in estate.customers.items()
        if customer.group == wish.group and wish.environment in customer.sites
    ]
    with world.ledger.transaction() as connection:
        running = installed.versions(connection)
        left_out = dict(wish.excluded)
        for name in customers:
            findings = _findings(estate, who, wish, name, running, now)
            if findings and name not in left_out:
                left_out[name] = " ".join(findings)
        taken = [name for name in sorted(customers) if name not in left_out]
        if not taken:
            raise Refused(*dict.fromkeys(left_out.values() or [f"group: {wish.group} has no such site"]))
        made = Campaign(
            name=campaigns.free_name(connection, wish.group, wish.environment, wish.version),
            group=wish.group,
            version=wish.version,
            members=rings(customers, wish.canaries or taken[:1], wish.ring_sizes),
            soak=wish.soak,
            parallel=wish.parallel,
            breaker=wish.breaker,
        )
        for name, why in left_out.items():
            made = made.exclude(name, why)
        kept = Kept(campaign=made, environment=wish.environment, begun_by=who.email, begun_at=now)
        campaigns.begin(connection, kept)
        requests.write_event(
            connection,
            at=now,
            verb="campaign_begin",
            actor=who.email,
            detail={"campaign": made.name, "customers": len(taken)},
        )
        return kept


def _check(estate: Estate, wish: GroupWish) -> None:
    findings = []
    if wish.group not in estate.groups:
        known = ", ".join(sorted(estate.groups)) or "none"
        findings.append(f"group: the estate has no '{wish.group}'; it has {known}")
    if wish.parallel < 1:
        findings.append("parallel: at least one customer has to be under way at a time")
    if wish.soak < timedelta(0):
        findings.append("soak: a ring cannot be watched for less than no time")
    if any(size < 1 for size in wish.ring_sizes):
        findings.append("rings: every ring has at least one customer")
    breaker = wish.breaker
    if breaker.failures < 1 or breaker.canary_failures < 1 or not 0 < breaker.share <= 1:
        findings.append("breaker: it opens at one failure or more, and at a share between 1 and 100 %")
    if findings:
        raise Refused(*findings)


def _findings(
    estate: Estate,
    who: Principal,
    wish: GroupWish,
    name: CustomerName,
    running: Mapping[str, Version],
    now: datetime,
) -> tuple[str, ...]:
    asked = Wish(site=SiteId(name, wish.environment), version=wish.version, refresh=False)
    return check_submission(estate, freshet(who.email), asked, running, now)
