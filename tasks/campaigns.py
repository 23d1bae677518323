"""Carry a group's upgrade forward: ask for whoever's turn it is, follow what ends, stop with the breaker.

Invariant: whom to ask for is decided by `policy.campaign`; every request within a campaign is an ordinary
one. A campaign that stands still holds back its requests that have not begun, and lets them go afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from infra.ledger import campaigns, outbox, requests
from infra.ledger.campaigns import Kept
from infra.ledger.connection import Connection
from policy.campaign import Campaign, Progress, Stage
from policy.campaign_notice import TOLD, campaign_notices
from policy.errors import Refused
from policy.estate import Estate
from policy.lifecycle import Actor, Event
from policy.names import CustomerName, RequestId, SiteId
from policy.permissions import Action, Principal, freshet, require
from policy.request import Outcome, Request, Status
from policy.wish import Wish
from tasks.change import change
from tasks.plan import undated
from tasks.submit import submit
from tasks.world import World

_NOT_BEGUN = frozenset({Status.TO_BE_SCHEDULED, Status.SCHEDULED})
_STANDS = frozenset({Stage.STOPPED, Stage.PAUSED})


def advance_campaigns(world: World) -> int:
    """One round over every open campaign.

    Returns:
        How many requests were asked for, held back or let go.

    Raises:
        Unavailable: the ledger does not answer.
    """
    with world.ledger.transaction() as connection:
        names = campaigns.names(connection, open_only=True)
    if not names:
        return 0
    estate = world.estate()
    return sum(_advance(world, estate, name) for name in names)


def change_campaign(
    world: World, who: Principal, name: str, verb: str, reason: str, act: Callable[[Campaign], Campaign]
) -> Kept:
    """Let an engineer change the campaign `name`: pause, resume, leave a customer out, take it again.

    Raises:
        Refused: no right to, or the campaign does not allow it.
    """
    require(who, Action.CAMPAIGN, world.estate(), None)
    with world.ledger.transaction() as connection:
        kept = campaigns.get(connection, name, lock=True)
        if kept.done_at is not None:
            raise Refused(f"campaign: {name} is over; begin a new upgrade of the group")
        campaigns.save(connection, act(kept.campaign), done_at=None, stage_told=kept.stage_told)
        _note(connection, world.clock.now(), f"campaign_{verb}", str(who.email), name, reason)
        return campaigns.get(connection, name)


def _advance(world: World, estate: Estate, name: str) -> int:
    now, done = world.clock.now(), 0
    with world.ledger.transaction() as connection:
        kept = campaigns.get(connection, name, lock=True)
        campaign = _follow(connection, kept.campaign)
        for customer in campaign.next(now):
            campaign = _ask(world, connection, kept, campaign, customer, now)
            done += 1
        stage = campaign.stage(now)
        done += _hold_or_let_go(world, connection, estate, campaign, stage, now)
        told = kept.stage_told
        if stage.value != told:
            told = stage.value
            _tell(world, connection, estate, kept, campaign)
        if campaign != kept.campaign or told != kept.stage_told:
            over = now if stage is Stage.DONE else None
            campaigns.save(connection, campaign, done_at=over, stage_told=told)
    return done


def _follow(connection: Connection, campaign: Campaign) -> Campaign:
    """The campaign with what its requests have come to since."""
    for member in campaign.members:
        if member.request is None:
            continue
        request = requests.get(connection, member.request)
        if request.outcome is None:
            campaign = campaign.retried(request.id)
            continue
        if member.progress is Progress.STUCK and request.outcome is not Outcome.STUCK:
            campaign = campaign.cleared(request.id, request.outcome)
        elif member.progress is not Progress.UNDER_WAY and request.outcome is Outcome.DONE:
            campaign = campaign.retried(request.id)
        campaign = campaign.ended(
            request.id, request.outcome, _ended_at(connection, request.id), request.reason
        )
    return campaign


def _ask(
    world: World,
    connection: Connection,
    kept: Kept,
    campaign: Campaign,
    customer: CustomerName,
    now: datetime,
) -> Campaign:
    # One that was asked for before a crash is found by looking.
    number = campaigns.open_request(connection, campaign.name, customer)
    if number is None:
        wish = Wish(
            site=SiteId(customer, kept.environment),
            version=campaign.version,
            refresh=False,
            note=f"Part of the upgrade of {campaign.group}.",
        )
        try:
            number = submit(world, wish, freshet(kept.begun_by), campaign=campaign.name).request.id
        except Refused as refused:
            # One customer that cannot be taken stops nobody else; the reason stands beside it.
            return campaign.exclude(customer, " ".join(refused.findings))
    return campaign.asked(customer, number, now)


def _hold_or_let_go(
    world: World, connection: Connection, estate: Estate, campaign: Campaign, stage: Stage, now: datetime
) -> int:
    """Put on hold what has not begun while the campaign stands still; take it off hold when it goes on."""
    who = f"campaign {campaign.name}"
    done = 0
    for member in campaign.members:
        if member.progress is not Progress.UNDER_WAY or member.request is None:
            continue
        request = requests.get(connection, member.request, lock=True)
        if stage in _STANDS and request.status in _NOT_BEGUN:
            event, reason, columns = Event.DEFER, _why(campaign), undated(request)
        elif stage not in _STANDS and _held_by(connection, request, who):
            event, reason, columns = Event.RESUME, "", {}
        else:
            continue
        change(
            world,
            connection,
            estate,
            request.id,
            event,
            at=now,
            by=Actor.FRESHET,
            who=who,
            reason=reason,
            columns=columns,
        )
        done += 1
    return done


def _why(campaign: Campaign) -> str:
    """What the contacts of a customer are told, who need not know how others fared."""
    reason = campaign.paused or "an update of another member of the group needs a closer look first"
    return f"The upgrade of the group is on hold: {reason}."


def _held_by(connection: Connection, request: Request, who: str) -> bool:
    if request.status is not Status.DEFERRED:
        return False
    events = requests.events(connection, request.id)
    return any(event["verb"] == Event.DEFER.value for event in events[-1:]) and events[-1]["actor"] == who


def _tell(world: World, connection: Connection, estate: Estate, kept: Kept, campaign: Campaign) -> None:
    now = world.clock.now()
    stage = campaign.stage(now)
    verb = f"campaign_{stage.name.lower()}"
    _note(connection, now, verb, "dispatch", campaign.name, campaign.sentence(now))
    if stage not in TOLD:
        return
    for notice in campaign_notices(
        campaign,
        estate=estate,
        now=now,
        to=(world.settings.on_call, kept.begun_by),
        webhook=world.settings.on_call_webhook is not None,
    ):
        outbox.put(
            connection,
            channel=notice.channel.value,
            key=notice.key,
            request=None,
            payload=notice.payload(),
        )


def _note(connection: Connection, now: datetime, verb: str, actor: str, name: str, reason: str) -> None:
    requests.write_event(connection, at=now, verb=verb, actor=actor, reason=reason, detail={"campaign": name})


def _ended_at(connection: Connection, request: RequestId) -> datetime:
    ended: list[Any] = [event["at"] for event in requests.events(connection, request) if event["outcome"]]
    at: datetime = ended[-1]
    return at
