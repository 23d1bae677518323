"""An estate with every kind of customer, for the tests of rights and submissions."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time, timedelta

from policy.estate import Contact, Customer, Estate, Group, GroupKind, ReleaseKind, Role
from policy.machines import Host
from policy.maintenance_window import Freeze, Weekday, Window
from policy.names import CustomerName, EmailAddress, Environment, GroupName, HostName, SiteId
from tests.estate_parts import CHICAGO, customer_of, estate_of, release_of, server_of, site_of

PLAIN, CLOUD = CustomerName("lakeside"), CustomerName("hillcrest")
IN_STATE, OF_PARTNER = CustomerName("riverton"), CustomerName("maplewood")
STATE, PARTNER = GroupName("northern"), GroupName("brightly")
ENGINEER = EmailAddress("dana@hosting.example.org")
PLAIN_CONTACT = EmailAddress("ann@lakeside.example.org")
CLOUD_CONTACT = EmailAddress("bo@hillcrest.example.org")
STATE_CONTACT = EmailAddress("lee@northern.example.org")
PARTNER_CONTACT = EmailAddress("kim@brightly.example.org")

SUNDAY = Window(
    name="sunday",
    zone=CHICAGO,
    days=frozenset({Weekday.SUN}),
    start=time(4),
    length=timedelta(hours=5),
    valid_from=date(2026, 1, 1),
)


def customer(
    name: CustomerName,
    *,
    group: GroupName | None = None,
    auto_updated: bool = False,
    windows: tuple[Window, ...] = (SUNDAY,),
) -> Customer:
    sites = [
        site_of(SiteId(name, Environment.SANDBOX), "live", "trial"),
        site_of(SiteId(name, Environment.PRODUCTION), "live", "live"),
        site_of(SiteId(name, Environment.STAGING), "staging", "trial"),
    ]
    return customer_of(name, sites, host="web1", group=group, auto_updated=auto_updated, windows=windows)


def contact(email: EmailAddress, **theirs: frozenset[CustomerName] | frozenset[GroupName] | Role) -> Contact:
    plain = Contact(email=email, name=email.partition("@")[0].title(), zone=CHICAGO, role=Role.CONTACT)
    return replace(plain, **theirs)  # type: ignore[arg-type]  # any field


def estate() -> Estate:
    customers = [
        customer(PLAIN),
        customer(CLOUD, auto_updated=True),
        customer(IN_STATE, group=STATE, windows=()),
        customer(OF_PARTNER, group=PARTNER),
    ]
    groups = [
        Group(name=STATE, title="Northern", kind=GroupKind.STATE, windows=(SUNDAY,)),
        Group(name=PARTNER, title="Brightly", kind=GroupKind.PARTNER, windows=(SUNDAY,)),
    ]
    contacts = [
        contact(PLAIN_CONTACT, customers=frozenset({PLAIN})),
        contact(CLOUD_CONTACT, customers=frozenset({CLOUD})),
        contact(STATE_CONTACT, groups=frozenset({STATE})),
        contact(PARTNER_CONTACT, groups=frozenset({PARTNER}), customers=frozenset({PLAIN})),
        contact(ENGINEER, role=Role.ENGINEER),
    ]
    return estate_of(
        servers=[server_of("live", production=True), server_of("trial", production=False)],
        hosts=[Host(name=HostName("web1"), connection="local")],
        releases=[
            release_of("23.1.0"),
            release_of("25.0.1"),
            release_of("25.0.3"),
            release_of("26.5.0", kind=ReleaseKind.SECURITY_MANDATORY),
            release_of("27.0.0", published=date(2027, 1, 15)),
        ],
        groups=groups,
        customers=customers,
        contacts=contacts,
        freezes=(
            Freeze(
                name="year end",
                zone=CHICAGO,
                first=date(2026, 12, 24),
                last=date(2027, 1, 2),
                reason="books are closed",
                groups=frozenset({STATE}),
            ),
        ),
    )
