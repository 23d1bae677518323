"""What the hosting team is told about a group's upgrade: that the breaker stopped it, or how it ended.

Invariant: the key names the stage and how many had ended by then, so that each turn is told once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from policy.campaign import Campaign, Member, Progress, Stage
from policy.estate import Contact, Estate, Role
from policy.local_time import for_people
from policy.names import EmailAddress
from policy.notice import Channel, Notice, NoticeKind, key_of
from policy.notice_words import estate_token
from policy.notices import UTC_ZONE

TOLD = frozenset({Stage.STOPPED, Stage.DONE})
"""The stages that somebody has to know of at once."""


def campaign_notices(
    campaign: Campaign, *, estate: Estate, now: datetime, to: Iterable[EmailAddress], webhook: bool = False
) -> tuple[Notice, ...]:
    """The notices that `campaign` has come to its present stage.

    Args:
        campaign: as it stands.
        estate: for names and zones.
        now: the present instant.
        to: whom; an address that comes twice is told once.
        webhook: the on-call channel is told as well, when the breaker stopped it.
    """
    people = {address.lower(): _contact(estate, address) for address in to}
    notices = [_notice(campaign, estate, now, Channel.MAIL, contact) for contact in people.values()]
    if webhook and campaign.stage(now) is Stage.STOPPED:
        team = Contact(
            email=next(iter(people.values())).email, name="On call", zone=UTC_ZONE, role=Role.ENGINEER
        )
        notices.append(_notice(campaign, estate, now, Channel.WEBHOOK, team))
    return tuple(notices)


def _contact(estate: Estate, address: EmailAddress) -> Contact:
    known = estate.contacts.get(address)
    return known or Contact(email=address, name="", zone=UTC_ZONE, role=Role.ENGINEER)


def _notice(campaign: Campaign, estate: Estate, now: datetime, channel: Channel, contact: Contact) -> Notice:
    stage = campaign.stage(now)
    group = estate.groups.get(campaign.group)
    title = str(campaign.group) if group is None else group.title
    over = sum(member.ended_at is not None for member in campaign.members)
    thread = f"{estate_token(estate)}.campaign.{campaign.name}"
    mark = f"{stage.name.lower()}-{over}"
    return Notice(
        kind=NoticeKind.CAMPAIGN,
        channel=channel,
        key=key_of(thread=thread, mark=mark, kind=NoticeKind.CAMPAIGN, to=contact.email, channel=channel),
        thread=thread,
        to=contact.email,
        name=contact.name,
        values={
            "subject": f"Upgrade of {title} to {campaign.version}",
            "group": str(campaign.group),
            "sentence": campaign.sentence(now),
            "stopped": stage is Stage.STOPPED,
            "at": for_people(now, contact.zone),
            "customers": tuple(_line(member, estate) for member in campaign.members),
            "zone": contact.zone.key,
        },
    )


def _line(member: Member, estate: Estate) -> str:
    customer = estate.customers.get(member.customer)
    title = str(member.customer) if customer is None else customer.title
    request = "" if member.request is None else f" ({member.request})"
    why = f": {member.reason}" if member.reason and member.progress is not Progress.DONE else ""
    return f"{title}{request}, ring {member.ring}: {member.progress.value}{why}"
