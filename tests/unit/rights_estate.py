"""An estate with every kind of customer, for the tests of rights and submissions."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time, timedelta
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
from policy.machines import DatabaseServer, Host, Login
from policy.maintenance_window import Freeze, Weekday, Window
from policy.names import (
    ApplicationName,
    CustomerName,
    DatabaseName,
    EmailAddress,
    Environment,
    GroupName,
    HostName,
    SecretName,
    ServerName,
    SiteId,
    Version,
    VersionLine,
    WebAppName,
)

CHICAGO = ZoneInfo("America/Chicago")
KINTO = ApplicationName("kinto")
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


def server(name: str, *, production: bool) -> DatabaseServer:
    login = Login(user="owner", secret=SecretName("owner"))
    return DatabaseServer(
        name=ServerName(name),
        host="127.0.0.1",
        port=5432,
        production=production,
        system_identifier=None,
        owner=login,
        reader=login if production else None,
        slots=2,
    )


def customer(
    name: CustomerName,
    *,
    group: GroupName | None = None,
    auto_updated: bool = False,
    windows: tuple[Window, ...] = (SUNDAY,),
) -> Customer:
    def site(environment: Environment, webapp: str, on: str) -> Site:
        return Site(
            id=SiteId(name, environment),
            webapp=WebAppName(webapp),
            server=ServerName(on),
            database=DatabaseName(f"{name}_{environment.value}"),
            url=f"https://{name}-{environment.value}.example.org",
            port=443,
        )

    webapps = [
        WebApp(customer=name, name=WebAppName(app), application=KINTO, hosts=(HostName("web1"),))
        for app in ("live", "staging")
    ]
    sites = [
        site(Environment.SANDBOX, "live", "trial"),
        site(Environment.PRODUCTION, "live", "live"),
        site(Environment.STAGING, "staging", "trial"),
    ]
    return Customer(
        name=name,
        title=name.title(),
        zone=CHICAGO,
        group=group,
        auto_updated=auto_updated,
        windows=windows,
        webapps={app.name: app for app in webapps},
        sites={entry.id.environment: entry for entry in sites},
    )


def release(
    version: str, line: str, published: date = date(2026, 6, 1), kind: ReleaseKind = ReleaseKind.NORMAL
) -> Release:
    return Release(
        application=KINTO,
        version=Version(version),
        line=VersionLine(line),
        lock=f"kinto-{version}.txt",
        sha256="0" * 64,
        kind=kind,
        published=published,
    )


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
    servers = [server("live", production=True), server("trial", production=False)]
    return Estate(
        name="test",
        undo=timedelta(days=7),
        servers={entry.name: entry for entry in servers},
        hosts={HostName("web1"): Host(name=HostName("web1"), connection="local")},
        applications={KINTO: Application(name=KINTO)},
        releases=(
            release("23.1.0", "23"),
            release("25.0.1", "25"),
            release("25.0.3", "25"),
            release("26.5.0", "26", kind=ReleaseKind.SECURITY_MANDATORY),
            release("27.0.0", "27", published=date(2027, 1, 15)),
        ),
        groups={group.name: group for group in groups},
        customers={entry.name: entry for entry in customers},
        contacts={entry.email: entry for entry in contacts},
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
