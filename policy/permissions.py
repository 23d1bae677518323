"""Who may do what to which site: one table, and whatever it does not say is refused.

Invariant: a right exists only as an entry of `RIGHTS`. The principal was authenticated before; here nothing
is read from what a request says about its asker. Rights are checked when something is asked for, and again
when the run starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from policy.errors import Refused
from policy.estate import Estate, GroupKind, Role
from policy.lifecycle import Actor
from policy.names import CustomerName, EmailAddress, Environment, SiteId
from policy.request import Request


class Action(StrEnum):
    """What somebody may want to do."""

    SEE = "see"
    ASK_REFRESH = "ask for a refresh"
    ASK_UPGRADE = "ask for an upgrade"
    MOVE = "move the date"
    CANCEL = "cancel"
    DELETE = "delete from the list"
    ANSWER = "answer a question"
    RETRY = "ask for a new try"
    UNDO = "undo"
    DEFER = "put on hold"
    RESUME = "resume"
    CLEAR = "clear a stuck site"
    OVERRIDE = "work outside the windows or in a freeze"
    PAUSE = "pause or resume the queue"
    CAMPAIGN = "run a group's upgrade"
    PUBLISH = "publish a release"
    UPGRADE_SERVER = "upgrade a database server"


class Situation(StrEnum):
    """How a site stands to whoever acts."""

    ESTATE = "the whole estate"
    PLAIN = "a site of a customer of theirs"
    CLOUD = "Production or Sandbox of an auto-updated customer of theirs"
    GROUPED = "a site of a customer of theirs that belongs to a state or consortium"
    FOREIGN = "a site of somebody else"


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Somebody whose identity is proven.

    Attributes:
        customers: those the principal speaks for; None means every one.
    """

    email: EmailAddress
    actor: Actor
    customers: frozenset[CustomerName] | None

    def speaks_for(self, customer: CustomerName) -> bool:
        """Whether `customer` is one of theirs."""
        return self.customers is None or customer in self.customers


_THEIRS = frozenset({Situation.PLAIN, Situation.CLOUD, Situation.GROUPED})
_EVERYWHERE = _THEIRS | {Situation.ESTATE}
_NOT_GROUPED = frozenset({Situation.PLAIN, Situation.CLOUD})

RIGHTS: Mapping[Actor, Mapping[Action, frozenset[Situation]]] = MappingProxyType(
    {
        Actor.CONTACT: {
            Action.SEE: _THEIRS,
            Action.ASK_REFRESH: _THEIRS,
            Action.ASK_UPGRADE: frozenset({Situation.PLAIN}),
            Action.MOVE: _THEIRS,
            Action.CANCEL: _THEIRS,
            Action.DELETE: _THEIRS,
            Action.ANSWER: _THEIRS,
            Action.RETRY: _THEIRS,
            Action.UNDO: _THEIRS,
        },
        Actor.ENGINEER: {
            Action.SEE: _EVERYWHERE,
            Action.ASK_REFRESH: _THEIRS,
            Action.ASK_UPGRADE: _NOT_GROUPED,
            Action.MOVE: _THEIRS,
            Action.CANCEL: _THEIRS,
            Action.DELETE: _THEIRS,
            Action.ANSWER: _THEIRS,
            Action.RETRY: _THEIRS,
            Action.UNDO: _THEIRS,
            Action.DEFER: _THEIRS,
            Action.RESUME: _THEIRS,
            Action.CLEAR: _THEIRS,
            Action.OVERRIDE: _THEIRS,
            Action.PAUSE: _EVERYWHERE,
            Action.CAMPAIGN: _EVERYWHERE,
            Action.PUBLISH: frozenset({Situation.ESTATE}),
            Action.UPGRADE_SERVER: _THEIRS,
        },
        Actor.FRESHET: {
            Action.SEE: _EVERYWHERE,
            Action.ASK_REFRESH: _THEIRS,
            Action.ASK_UPGRADE: _THEIRS,
            Action.MOVE: _THEIRS,
            Action.CANCEL: _THEIRS,
            Action.DEFER: _THEIRS,
            Action.PAUSE: _EVERYWHERE,
        },
    }
)
"""A customer of a state or consortium is upgraded with its group: only Freshet itself, carrying out the
group's campaign, asks for such an upgrade."""


def principal_of(estate: Estate, email: EmailAddress) -> Principal:
    """The principal behind an authenticated address.

    Raises:
        Refused: nobody in the estate has this address.
    """
    contact = estate.contacts.get(email)
    if contact is None:
        raise Refused(
            "as: no contact of the estate has this address; an engineer adds it to the estate's file"
        )
    if contact.role is Role.ENGINEER:
        return engineer(email)
    of_groups = {name for name, customer in estate.customers.items() if customer.group in contact.groups}
    return Principal(email=email, actor=Actor.CONTACT, customers=contact.customers | of_groups)


def engineer(email: EmailAddress) -> Principal:
    """An engineer of the hosting team: every customer."""
    return Principal(email=email, actor=Actor.ENGINEER, customers=None)


def freshet(email: EmailAddress) -> Principal:
    """Freshet itself, which asks for recurring refreshes and for a group's upgrades."""
    return Principal(email=email, actor=Actor.FRESHET, customers=None)


def authority_of(estate: Estate, request: Request) -> Principal:
    """On whose authority `request` is carried out: its asker's, or Freshet's own within a group's upgrade.

    Raises:
        Refused: its asker has left the estate.
    """
    return freshet(request.asked_by) if request.campaign else principal_of(estate, request.asked_by)


def grouped(estate: Estate, customer: CustomerName) -> bool:
    """Whether `customer` is upgraded with a state or consortium. A partner's customers are not."""
    group = estate.customer(customer).group
    return group is not None and estate.groups[group].kind in {GroupKind.STATE, GroupKind.CONSORTIUM}


def situation(principal: Principal, estate: Estate, site: SiteId | None) -> Situation:
    """How `site` stands to `principal`; None is the whole estate."""
    if site is None:
        return Situation.ESTATE
    if site.customer not in estate.customers or not principal.speaks_for(site.customer):
        return Situation.FOREIGN
    if grouped(estate, site.customer):
        return Situation.GROUPED
    cloud = {Environment.PRODUCTION, Environment.SANDBOX}
    if estate.customers[site.customer].auto_updated and site.environment in cloud:
        return Situation.CLOUD
    return Situation.PLAIN


def may(principal: Principal, action: Action, estate: Estate, site: SiteId | None) -> bool:
    """Whether the table gives `principal` the right to do `action` to `site`."""
    return situation(principal, estate, site) in RIGHTS[principal.actor].get(action, frozenset())


def require(principal: Principal, action: Action, estate: Estate, site: SiteId | None) -> None:
    """Let `principal` do `action` to `site`, or say why not.

    Raises:
        Refused: the table has no such right.
    """
    if not may(principal, action, estate, site):
        raise Refused(refusal(principal, action, estate, site))


def refusal(principal: Principal, action: Action, estate: Estate, site: SiteId | None) -> str:
    """Why `principal` may not do `action`, and what to do instead; a foreign customer stays unknown."""
    here = situation(principal, estate, site)
    if here is Situation.FOREIGN:
        theirs = ", ".join(sorted(visible(principal, estate))) or "none"
        return f"customer: it is not among those you speak for; yours are: {theirs}"
    if action is Action.ASK_UPGRADE and here is Situation.GROUPED:
        return (
            f"version: {site} is upgraded together with its group, never alone; ask the hosting team for "
            "the group's next upgrade"
        )
    if action is Action.ASK_UPGRADE and here is Situation.CLOUD:
        return (
            f"version: {site} is updated by the hosting team in its window; you can ask for a database "
            "refresh only"
        )
    where = "for the whole estate" if site is None else f"for {site}"
    return f"action: {principal.email} may not {action.value} {where}; ask the hosting team"


def visible(principal: Principal, estate: Estate) -> frozenset[CustomerName]:
    """The customers whose requests `principal` sees."""
    return frozenset(name for name in estate.customers if principal.speaks_for(name))
