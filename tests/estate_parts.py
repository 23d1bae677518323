"""The nouns of an estate, each as most tests leave it: a test says only what matters to it.

Invariant: what is said replaces a field of the noun, so a field that does not exist is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from policy.estate import Application, Contact, Customer, Estate, Group, Release, ReleaseKind, Site, WebApp
from policy.machines import DatabaseServer, Host, Login
from policy.names import (
    ApplicationName,
    CustomerName,
    DatabaseName,
    HostName,
    SecretName,
    ServerName,
    SiteId,
    Version,
    VersionLine,
    WebAppName,
)

KINTO = ApplicationName("kinto")
CHICAGO = ZoneInfo("America/Chicago")


def server_of(name: str, *, production: bool, **said: Any) -> DatabaseServer:  # noqa: ANN401 - any field
    """A server of this machine; what holds Production has a reader."""
    login = Login(user="owner", secret=SecretName("owner"))
    plain = DatabaseServer(
        name=ServerName(name),
        host="127.0.0.1",
        port=5432,
        production=production,
        system_identifier=None,
        owner=login,
        reader=login if production else None,
    )
    return replace(plain, **said)


def release_of(version: str, **said: Any) -> Release:  # noqa: ANN401 - any field
    """A normal release of Kinto, in the line of its first number."""
    plain = Release(
        application=KINTO,
        version=Version(version),
        line=VersionLine(version.partition(".")[0]),
        lock=f"kinto-{version}.txt",
        sha256="0" * 64,
        kind=ReleaseKind.NORMAL,
        published=date(2026, 1, 1),
    )
    return replace(plain, **said)


def site_of(name: SiteId, webapp: str, server: str, **said: Any) -> Site:  # noqa: ANN401 - any field
    """A site at an address of its own, with a database called as it is."""
    plain = Site(
        id=name,
        webapp=WebAppName(webapp),
        server=ServerName(server),
        database=DatabaseName(f"{name.customer}_{name.environment.value}"),
        url=f"https://{name.customer}-{name.environment.value}.example.org",
        port=443,
    )
    return replace(plain, **said)


def customer_of(
    name: CustomerName,
    sites: Iterable[Site],
    *,
    host: str = "web",
    **said: Any,  # noqa: ANN401 - any field
) -> Customer:
    """A customer in Chicago, with the web applications that its sites are served by, all on one host."""
    found = {site.id.environment: site for site in sites}
    webapps = dict.fromkeys(site.webapp for site in found.values())
    plain = Customer(
        name=name,
        title=name.title(),
        zone=CHICAGO,
        group=None,
        auto_updated=False,
        windows=(),
        webapps={
            webapp: WebApp(customer=name, name=webapp, application=KINTO, hosts=(HostName(host),))
            for webapp in webapps
        },
        sites=found,
    )
    return replace(plain, **said)


def estate_of(
    *,
    servers: Iterable[DatabaseServer],
    hosts: Iterable[Host] = (),
    releases: Iterable[Release] = (),
    groups: Iterable[Group] = (),
    customers: Iterable[Customer] = (),
    contacts: Iterable[Contact] = (),
    **said: Any,  # noqa: ANN401 - any field
) -> Estate:
    """An estate of these parts, whose application is Kinto."""
    plain = Estate(
        name="test",
        undo=timedelta(days=7),
        servers={server.name: server for server in servers},
        hosts={host.name: host for host in hosts},
        applications={KINTO: Application(name=KINTO)},
        releases=tuple(releases),
        groups={group.name: group for group in groups},
        customers={customer.name: customer for customer in customers},
        contacts={contact.email: contact for contact in contacts},
        freezes=(),
    )
    return replace(plain, **said)
