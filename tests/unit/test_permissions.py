"""Principal × site × action, each cell written out: what is not written is refused."""

from __future__ import annotations

from itertools import product

import pytest

from policy.errors import Refused
from policy.lifecycle import Actor
from policy.names import CustomerName, EmailAddress, Environment, SiteId
from policy.permissions import (
    RIGHTS,
    Action,
    Principal,
    Situation,
    engineer,
    freshet,
    may,
    principal_of,
    require,
    situation,
    visible,
)
from tests.unit.rights_estate import (
    CLOUD,
    CLOUD_CONTACT,
    ENGINEER,
    IN_STATE,
    OF_PARTNER,
    PARTNER_CONTACT,
    PLAIN,
    PLAIN_CONTACT,
    STATE_CONTACT,
    estate,
)

ESTATE = estate()
PRODUCTION, STAGING = Environment.PRODUCTION, Environment.STAGING
PRINCIPALS = {
    "plain": principal_of(ESTATE, PLAIN_CONTACT),
    "cloud": principal_of(ESTATE, CLOUD_CONTACT),
    "state": principal_of(ESTATE, STATE_CONTACT),
    "partner": principal_of(ESTATE, PARTNER_CONTACT),
    "engineer": engineer(ENGINEER),
    "freshet": freshet(EmailAddress("updates@hosting.example.org")),
}
SITES = {
    "estate": None,
    "lakeside": SiteId(PLAIN, PRODUCTION),
    "hillcrest": SiteId(CLOUD, PRODUCTION),
    "hillcrest staging": SiteId(CLOUD, STAGING),
    "riverton": SiteId(IN_STATE, PRODUCTION),
    "maplewood": SiteId(OF_PARTNER, STAGING),
    "nowhere": SiteId(CustomerName("nowhere"), PRODUCTION),
}
# see, refresh, upgrade, move, cancel, delete, answer, retry, undo, defer, resume, clear, override, pause,
# campaign, publish, server: one letter each, in that order; a dot is no.
LETTERS = dict(
    zip(
        "srumxdatnhRcopgPv",
        [
            Action.SEE,
            Action.ASK_REFRESH,
            Action.ASK_UPGRADE,
            Action.MOVE,
            Action.CANCEL,
            Action.DELETE,
            Action.ANSWER,
            Action.RETRY,
            Action.UNDO,
            Action.DEFER,
            Action.RESUME,
            Action.CLEAR,
            Action.OVERRIDE,
            Action.PAUSE,
            Action.CAMPAIGN,
            Action.PUBLISH,
            Action.UPGRADE_SERVER,
        ],
        strict=True,
    )
)
NONE, CONTACT, NO_UPGRADE = "", "srumxdatn", "srmxdatn"
ALL_SITES, ALL_BUT_UPGRADE = "srumxdatnhRcopgv", "srmxdatnhRcopgv"
TABLE = {
    "plain": {"lakeside": CONTACT},
    "cloud": {"hillcrest": NO_UPGRADE, "hillcrest staging": CONTACT},
    "state": {"riverton": NO_UPGRADE},
    "partner": {"maplewood": CONTACT, "lakeside": CONTACT},
    "engineer": {
        "estate": "spgP",
        "lakeside": ALL_SITES,
        "hillcrest": ALL_SITES,
        "hillcrest staging": ALL_SITES,
        "riverton": ALL_BUT_UPGRADE,
        "maplewood": ALL_SITES,
    },
    "freshet": {
        "estate": "sp",
        "lakeside": "srumxhp",
        "hillcrest": "srumxhp",
        "hillcrest staging": "srumxhp",
        "riverton": "srumxhp",
        "maplewood": "srumxhp",
    },
}


def test_every_action_has_a_letter() -> None:
    assert set(LETTERS.values()) == set(Action)


@pytest.mark.parametrize(("who", "where"), list(product(PRINCIPALS, SITES)))
def test_every_cell(who: str, where: str) -> None:
    principal, site = PRINCIPALS[who], SITES[where]
    allowed = {LETTERS[letter] for letter in TABLE[who].get(where, NONE)}
    assert {action for action in Action if may(principal, action, ESTATE, site)} == allowed
    for action in set(Action) - allowed:
        with pytest.raises(Refused) as refusal:
            require(principal, action, ESTATE, site)
        assert str(refusal.value).startswith(("customer: ", "version: ", "action: "))
    for action in allowed:
        require(principal, action, ESTATE, site)


def test_what_the_table_does_not_say_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy.permissions.RIGHTS", {actor: {} for actor in RIGHTS})
    for principal, action in product(PRINCIPALS.values(), Action):
        for site in SITES.values():
            assert not may(principal, action, ESTATE, site)


def test_a_foreign_customer_stays_unknown() -> None:
    """Whether it exists makes no difference to what a stranger is told."""
    stranger = PRINCIPALS["plain"]
    words = []
    for name in (CLOUD, CustomerName("nowhere")):
        with pytest.raises(Refused) as refusal:
            require(stranger, Action.SEE, ESTATE, SiteId(name, PRODUCTION))
        words.append(str(refusal.value))
    assert words[0] == words[1]
    assert CLOUD not in words[0]
    assert visible(stranger, ESTATE) == {PLAIN}


def test_who_is_not_in_the_estate_is_nobody() -> None:
    with pytest.raises(Refused, match="no contact of the estate"):
        principal_of(ESTATE, EmailAddress("mallory@elsewhere.example.org"))


def test_a_partner_sees_its_customers_and_its_own() -> None:
    assert visible(PRINCIPALS["partner"], ESTATE) == {OF_PARTNER, PLAIN}
    assert visible(PRINCIPALS["engineer"], ESTATE) == set(ESTATE.customers)


def test_a_principal_never_gains_by_an_unknown_site() -> None:
    nobody = Principal(email=PLAIN_CONTACT, actor=Actor.CONTACT, customers=frozenset())
    for site in SITES.values():
        if site is not None:
            assert situation(nobody, ESTATE, site) is Situation.FOREIGN
