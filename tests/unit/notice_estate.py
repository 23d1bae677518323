"""A small estate and its requests, for the tests of notices."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from policy.estate import (
    Application,
    Contact,
    Customer,
    Estate,
    Group,
    GroupKind,
    Release,
    ReleaseKind,
    Role,
    Site,
    WebApp,
)
from policy.machines import DatabaseServer, Login
from policy.names import (
    ApplicationName,
    CustomerName,
    DatabaseName,
    EmailAddress,
    Environment,
    GroupName,
    HostName,
    RequestId,
    SecretName,
    ServerName,
    SiteId,
    Version,
    VersionLine,
    WebAppName,
)
from policy.request import Kind, Request, Status

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
LAKESIDE, HARBOR = CustomerName("lakeside"), CustomerName("harbor")
KINTO = ApplicationName("kinto")
LIVE = WebAppName("live")
ANN = EmailAddress("ann@lakeside.example.org")
LEE = EmailAddress("lee@coast.example.org")
ENGINEER = EmailAddress("engineer@hosting.example.org")
ON_CALL = EmailAddress("on-call@hosting.example.org")
FOLLOW_UP = "Update the desktop client to 7.2.\nThen log in again."


def customer(name: CustomerName, title: str, zone: str, group: GroupName | None = None) -> Customer:
    def site(environment: Environment, webapp: str, port: int) -> Site:
        return Site(
            id=SiteId(name, environment),
            webapp=WebAppName(webapp),
            server=ServerName("db"),
            database=DatabaseName(f"{name}_{environment.value}"),
            url=f"https://{name}.example.org:{port}",
            port=port,
        )

    webapps = [
        WebApp(customer=name, name=WebAppName(app), application=KINTO, hosts=(HostName("web"),))
        for app in ("live", "staging")
    ]
    sites = [
        site(Environment.PRODUCTION, "live", 8001),
        site(Environment.SANDBOX, "live", 8001),
        site(Environment.STAGING, "staging", 8002),
    ]
    return Customer(
        name=name,
        title=title,
        zone=ZoneInfo(zone),
        group=group,
        auto_updated=False,
        windows=(),
        webapps={webapp.name: webapp for webapp in webapps},
        sites={site.id.environment: site for site in sites},
    )


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
    login = Login(user="owner", secret=SecretName("owner"))
    customers = [
        customer(LAKESIDE, "Lakeside Schools", "America/Chicago"),
        customer(HARBOR, "Harbor College", "America/New_York", coast),
    ]
    release = Release(
        application=KINTO,
        version=Version("26.5.0"),
        line=VersionLine("26"),
        lock="kinto.txt",
        sha256="0" * 64,
        kind=ReleaseKind.NORMAL,
        published=date(2026, 11, 1),
        follow_up=FOLLOW_UP,
    )
    server = DatabaseServer(
        name=ServerName("db"),
        host="127.0.0.1",
        port=5432,
        production=False,
        system_identifier=None,
        owner=login,
        reader=login,
    )
    return Estate(
        name="Demo estate",
        undo=timedelta(days=7),
        servers={server.name: server},
        hosts={},
        applications={KINTO: Application(name=KINTO)},
        releases=(release,),
        groups={coast: Group(name=coast, title="Coast", kind=GroupKind.CONSORTIUM, windows=())},
        customers={entry.name: entry for entry in customers},
        contacts={entry.email: entry for entry in contacts},
        freezes=(),
    )


def request(**changed: Any) -> Request:  # noqa: ANN401 - any field
    """R42: a refresh of Lakeside's Sandbox that Ann asked for, scheduled for the night."""
    base = Request(
        id=RequestId("R42"),
        kind=Kind.REFRESH,
        site=SiteId(LAKESIDE, Environment.SANDBOX),
        version=None,
        refresh=True,
        asked_by=ANN,
        asked_at=datetime(2026, 11, 20, 9, 30, 15, tzinfo=UTC),
        not_before=None,
        start_by=None,
        scheduled_for=datetime(2026, 11, 22, 8, 0, tzinfo=UTC),
        status=Status.SCHEDULED,
        outcome=None,
        attempt=0,
    )
    return replace(base, **changed)


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
