"""A small estate and its requests, for the tests of notices."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from policy.estate import Contact, Customer, Estate, Group, GroupKind, Role
from policy.names import CustomerName, EmailAddress, Environment, GroupName, RequestId, SiteId, Version
from policy.request import Kind, Request, Status
from tests.asked import asked_for
from tests.estate_parts import customer_of, estate_of, release_of, server_of, site_of

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
LAKESIDE, HARBOR = CustomerName("lakeside"), CustomerName("harbor")
ANN = EmailAddress("ann@lakeside.example.org")
LEE = EmailAddress("lee@coast.example.org")
ENGINEER = EmailAddress("engineer@hosting.example.org")
ON_CALL = EmailAddress("on-call@hosting.example.org")
FOLLOW_UP = "Update the desktop client to 7.2.\nThen log in again."


def customer(name: CustomerName, title: str, zone: str, group: GroupName | None = None) -> Customer:
    sites = [
        site_of(SiteId(name, environment), webapp, "db", url=f"https://{name}.example.org:{port}", port=port)
        for environment, webapp, port in (
            (Environment.PRODUCTION, "live", 8001),
            (Environment.SANDBOX, "live", 8001),
            (Environment.STAGING, "staging", 8002),
        )
    ]
    return customer_of(name, sites, title=title, zone=ZoneInfo(zone), group=group)


def contact(
    email: EmailAddress,
    zone: str,
    role: Role = Role.CONTACT,
    **theirs: Any,  # noqa: ANN401 - any field
) -> Contact:
    name = email.partition("@")[0].title()
    return Contact(email=email, name=name, zone=ZoneInfo(zone), role=role, **theirs)


def estate() -> Estate:
    coast = GroupName("coast")
    contacts = [
        contact(ANN, "America/Chicago", customers=frozenset({LAKESIDE})),
        contact(LEE, "America/New_York", groups=frozenset({coast})),
        contact(EmailAddress("bo@harbor.example.org"), "Europe/Berlin", customers=frozenset({HARBOR})),
        contact(ENGINEER, "UTC", Role.ENGINEER),
    ]
    customers = [
        customer(LAKESIDE, "Lakeside Schools", "America/Chicago"),
        customer(HARBOR, "Harbor College", "America/New_York", coast),
    ]
    return estate_of(
        name="Demo estate",
        servers=[server_of("db", production=False)],
        releases=[release_of("26.5.0", published=date(2026, 11, 1), follow_up=FOLLOW_UP)],
        groups=[Group(name=coast, title="Coast", kind=GroupKind.CONSORTIUM, windows=())],
        customers=customers,
        contacts=contacts,
    )


def request(**changed: Any) -> Request:  # noqa: ANN401 - any field
    """R42: a refresh of Lakeside's Sandbox that Ann asked for, scheduled for the night."""
    base: dict[str, Any] = {
        "at": datetime(2026, 11, 20, 9, 30, 15, tzinfo=UTC),
        "asked_by": ANN,
        "scheduled_for": datetime(2026, 11, 22, 8, 0, tzinfo=UTC),
        "status": Status.SCHEDULED,
    }
    return replace(asked_for("R42", SiteId(LAKESIDE, Environment.SANDBOX), **base), **changed)


def upgrade(**changed: Any) -> Request:  # noqa: ANN401 - any field
    """R43: an upgrade of Harbor's Production, and so of its Sandbox, that an engineer asked for."""
    base: dict[str, Any] = {
        "id": RequestId("R43"),
        "kind": Kind.UPGRADE,
        "site": SiteId(HARBOR, Environment.PRODUCTION),
        "version": Version("26.5.0"),
        "refresh": False,
        "asked_by": ENGINEER,
    }
    return request(**(base | changed))
