"""Whether a wish may become a request, and whether a request may still change or start.

Invariant: every reason is told at once, and each names the field it is about; a wish without a finding can be
carried out as far as the estate knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from policy.errors import Refused
from policy.estate import Estate
from policy.lifecycle import Actor
from policy.local_time import instant_asked_for
from policy.names import Environment, SiteId, Version
from policy.permissions import Action, Principal, Situation, may, refusal, situation
from policy.releases import check_version, mandatory, rank
from policy.request import Kind, Request
from policy.windows import Override
from policy.wish import Wish

START_WITHIN = timedelta(hours=4)
"""How much later than asked for a refresh may begin; then it waits for the same time of the next day."""

CUT_OFF = timedelta(hours=12)
"""A date that Freshet set by itself can be moved or cancelled by the customer until this long before it."""


class Asked(NamedTuple):
    """The times of a wish as instants."""

    not_before: datetime | None
    start_by: datetime | None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a request came from, as far as that bounds what its customer may do to it.

    Attributes:
        automatic: scheduled by Freshet itself after a rehearsal, not asked for.
        campaign: the group's upgrade that it is part of.
    """

    automatic: bool = False
    campaign: str | None = None


def asked_times(wish: Wish, now: datetime) -> Asked:
    """The instants that `wish` names. A window bounds an upgrade's start; a refresh gets a start-by here.

    Raises:
        Refused: the time has no zone, does not exist, is past or too far ahead.
    """
    if wish.at is None:
        return Asked(None, None)
    at = instant_asked_for(wish.at, wish.zone, now)
    return Asked(at, at + START_WITHIN if wish.kind is Kind.REFRESH else None)


def check_submission(
    estate: Estate,
    principal: Principal,
    wish: Wish,
    installed: Mapping[str, Version],
    now: datetime,
    *,
    override: Override | None = None,
) -> tuple[str, ...]:
    """Every reason why `wish` of `principal` may not become a request.

    Args:
        estate: what is hosted.
        principal: who asks, authenticated.
        wish: what is asked for.
        installed: the version of each web application, by its key; one that is missing is not known.
        now: the present instant.
        override: leave to work outside the windows or in a freeze.
    """
    findings = list(_check_work(estate, principal, wish, installed, now, override=override))
    try:
        asked_times(wish, now)
    except Refused as refused:
        findings.extend(refused.findings)
    if override is not None and not may(principal, Action.OVERRIDE, estate, wish.site):
        findings.append(refusal(principal, Action.OVERRIDE, estate, wish.site))
    return tuple(dict.fromkeys(findings))


def check_start(
    estate: Estate,
    principal: Principal,
    request: Request,
    installed: Mapping[str, Version],
    now: datetime,
) -> tuple[str, ...]:
    """Every reason why an accepted `request` may not start now: rights and releases may have changed."""
    if request.kind not in {Kind.REFRESH, Kind.UPGRADE}:
        action = Action.UNDO if request.kind is Kind.UNDO else Action.UPGRADE_SERVER
        allowed = may(principal, action, estate, request.site)
        return () if allowed else (refusal(principal, action, estate, request.site),)
    wish = Wish(site=request.site, version=request.version, refresh=request.refresh)
    return _check_work(estate, principal, wish, installed, now, accepted=True)


def check_change(
    estate: Estate,
    principal: Principal,
    request: Request,
    action: Action,
    now: datetime,
    *,
    origin: Origin | None = None,
) -> tuple[str, ...]:
    """Every reason why `principal` may not do `action` to `request`.

    The status decides as well; `policy.lifecycle.advance` asks it.
    """
    if not may(principal, action, estate, request.site):
        return (refusal(principal, action, estate, request.site),)
    if principal.actor is not Actor.CONTACT or action not in {Action.MOVE, Action.CANCEL}:
        return ()
    origin = origin or Origin()
    findings = []
    if origin.campaign is not None:
        findings.append(f"action: {request.id} is part of its group's upgrade; ask the hosting team")
    automatic = origin.automatic or origin.campaign is not None
    if automatic and request.version is not None and mandatory(estate, request.site, request.version):
        findings.append(
            f"action: {request.id} brings a mandatory security release; its date cannot be refused"
        )
    if origin.automatic and request.scheduled_for is not None and now > request.scheduled_for - CUT_OFF:
        hours = CUT_OFF // timedelta(hours=1)
        findings.append(
            f"action: {request.id} can be moved or cancelled until {hours} hours before it starts; "
            "ask the hosting team"
        )
    return tuple(findings)


def _check_work(
    estate: Estate,
    principal: Principal,
    wish: Wish,
    installed: Mapping[str, Version],
    now: datetime,
    *,
    accepted: bool = False,
    override: Override | None = None,
) -> tuple[str, ...]:
    site = wish.site
    if situation(principal, estate, site) is Situation.FOREIGN:
        return (refusal(principal, Action.SEE, estate, site),)
    sites = estate.customers[site.customer].sites
    if site.environment not in sites:
        known = ", ".join(environment.value for environment in sites)
        return (f"site: {site.customer} has no {site.environment.value}; it has {known}",)
    findings = []
    if wish.version is None and not wish.refresh:
        findings.append("refresh: nothing is asked for; ask for a version, a database refresh, or both")
    actions = [(wish.refresh, Action.ASK_REFRESH), (wish.version is not None, Action.ASK_UPGRADE)]
    findings.extend(
        refusal(principal, action, estate, site)
        for wanted, action in actions
        if wanted and not may(principal, action, estate, site)
    )
    if wish.refresh:
        findings.extend(_check_refresh(estate, site, wish.version, installed))
    if wish.version is not None:
        findings.extend(_check_upgrade(estate, site, needs_window=override is None or not override.windows))
        running = installed.get(estate.webapp(site).key)
        findings.extend(check_version(estate, site, wish.version, running, now, chosen_before=accepted))
    return tuple(findings)


def _check_upgrade(estate: Estate, site: SiteId, *, needs_window: bool) -> list[str]:
    served = [other.id for other in estate.served_by(estate.webapp(site))]
    if served[0] != site:
        return [f"site: {site} is upgraded with {served[0]}, whose web application it shares; ask for that"]
    if needs_window and not estate.windows(site.customer):
        return [f"at: {site.customer} has no maintenance window; the hosting team declares one first"]
    return []


def _check_refresh(
    estate: Estate, site: SiteId, version: Version | None, installed: Mapping[str, Version]
) -> list[str]:
    if site.environment is Environment.PRODUCTION:
        return [f"site: {site} is Production and cannot be overwritten; choose Sandbox, Staging or Preview"]
    findings = []
    try:
        estate.target(site)
        source = estate.source(site.customer)
    except Refused as refused:
        return list(refused.findings)
    ours, theirs = estate.webapp(site), estate.webapp(source.site.id)
    if ours.application != theirs.application:
        findings.append(f"site: {site} runs {ours.application}, Production runs {theirs.application}")
    elif ours.key != theirs.key:
        after = version or installed.get(ours.key)
        live = installed.get(theirs.key)
        if after is not None and live is not None and rank(after) < rank(live):
            findings.append(
                f"refresh: {site} would run {after} on data of Production's {live}; ask for its upgrade to "
                f"{live} or newer together with the refresh"
            )
    return findings
