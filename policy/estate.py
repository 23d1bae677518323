"""The estate: its customers, contacts, groups, sites, web applications and releases, and what holds them.

Invariant: an `Estate` that exists is consistent: every reference resolves (`infra.estate_file` proves it at
the door). `Source` and `Target` are different types: only a `Target` may be written to, and none can be built
for a production site (the first of the five fences).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from policy.errors import Refused
from policy.machines import DatabaseServer, Host
from policy.maintenance_window import Freeze, Window
from policy.names import (
    ApplicationName,
    CustomerName,
    DatabaseName,
    EmailAddress,
    Environment,
    GroupName,
    HostName,
    ServerName,
    SiteId,
    Version,
    VersionLine,
    WebAppName,
)


class GroupKind(StrEnum):
    """Why customers are upgraded together. Source: the mission, "The request"."""

    STATE = "state"
    CONSORTIUM = "consortium"
    PARTNER = "partner"


class ReleaseKind(StrEnum):
    """Whether a date may be refused by the customer: a mandatory security release may not."""

    NORMAL = "normal"
    SECURITY_MANDATORY = "security-mandatory"


class Role(StrEnum):
    """What a person may do at all; for which customers follows from the contact's lists."""

    CONTACT = "contact"
    ENGINEER = "engineer"


@dataclass(frozen=True, kw_only=True)
class Application:
    """A hosted application; everything about it lives in its role `playbooks/roles/app_<name>`."""

    name: ApplicationName


@dataclass(frozen=True, kw_only=True)
class Release:
    """Something a site can be upgraded to: identity is the version and the hash of its lock.

    Attributes:
        line: of its line only the newest release may be chosen.
        lock: path of the artefact list, relative to the estate's file.
        sha256: of the lock's bytes; compared before anything is staged.
        follow_up: what users must do after the upgrade, in plain words.
        expect: what the health checks must find beside the version, for example `schema_version`.
    """

    application: ApplicationName
    version: Version
    line: VersionLine
    lock: str
    sha256: str
    kind: ReleaseKind
    published: date
    follow_up: str = ""
    expect: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WebApp:
    """One installation of an application; it may serve several sites (Production and Sandbox).

    Attributes:
        variables: what its role needs beyond the interface, passed to Ansible as they are.
    """

    customer: CustomerName
    name: WebAppName
    application: ApplicationName
    hosts: tuple[HostName, ...]
    variables: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Unique in the estate: `lakeside/live`. One live run per key."""
        return f"{self.customer}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Customer × environment: one database, served by one web application.

    Attributes:
        url: where users reach it, without a path.
    """

    id: SiteId
    webapp: WebAppName
    server: ServerName
    database: DatabaseName
    url: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Contact:
    """A person who may ask, and who is told.

    Attributes:
        customers: those the person speaks for; `groups` adds every customer of the groups.
        zone: the person's own time zone, for every time that is shown or mailed.
    """

    email: EmailAddress
    name: str
    zone: ZoneInfo
    role: Role
    customers: frozenset[CustomerName] = frozenset()
    groups: frozenset[GroupName] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Group:
    """Customers linked to a state, consortium or partner: upgraded together, never one by one."""

    name: GroupName
    title: str
    kind: GroupKind
    windows: tuple[Window, ...]


@dataclass(frozen=True, kw_only=True)
class Customer:
    """One hosted customer.

    Attributes:
        auto_updated: a "cloud" customer: its contacts ask for database refreshes only.
        windows: its own; when empty those of its group hold.
    """

    name: CustomerName
    title: str
    zone: ZoneInfo
    group: GroupName | None
    auto_updated: bool
    windows: tuple[Window, ...]
    webapps: Mapping[WebAppName, WebApp]
    sites: Mapping[Environment, Site]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A Production site as something to read from. It has no verb that writes."""

    site: Site
    server: DatabaseServer

    def __post_init__(self) -> None:
        if self.server.reader is None:
            raise Refused(f"database server '{self.server.name}': declare a reader login to copy from it")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A site whose database may be replaced. Cannot be built for Production (fence one)."""

    site: Site
    server: DatabaseServer

    def __post_init__(self) -> None:
        if self.site.id.environment is Environment.PRODUCTION or self.server.production:
            raise Refused(
                f"site: {self.site.id} cannot be the target of a refresh because it is Production, or its "
                "database server holds Production; choose a Sandbox, Staging or Preview"
            )


@dataclass(frozen=True, kw_only=True)
class Estate:
    """Everything that is hosted, as declared.

    Attributes:
        golden_every: how often golden images are built anew; zero means only by hand.
        golden_oldest: an image whose data are older is not cloned, and dropped.
    """

    name: str
    undo: timedelta
    servers: Mapping[ServerName, DatabaseServer]
    hosts: Mapping[HostName, Host]
    applications: Mapping[ApplicationName, Application]
    releases: tuple[Release, ...]
    groups: Mapping[GroupName, Group]
    customers: Mapping[CustomerName, Customer]
    contacts: Mapping[EmailAddress, Contact]
    freezes: tuple[Freeze, ...]
    concurrent_runs: int = 4
    golden_every: timedelta = timedelta(0)
    golden_oldest: timedelta = timedelta(days=7)

    def customer(self, name: CustomerName) -> Customer:
        """The customer called `name`.

        Raises:
            Refused: the estate has no such customer.
        """
        try:
            return self.customers[name]
        except KeyError:
            known = ", ".join(sorted(self.customers))
            raise Refused(f"customer: the estate has no '{name}'; it has {known}") from None

    def site(self, site: SiteId) -> Site:
        """The site `site`.

        Raises:
            Refused: the customer has no such site.
        """
        customer = self.customer(site.customer)
        try:
            return customer.sites[site.environment]
        except KeyError:
            known = ", ".join(sorted(environment.value for environment in customer.sites))
            raise Refused(f"site: {site.customer} has no {site.environment}; it has {known}") from None

    def webapp(self, site: SiteId) -> WebApp:
        """The web application that serves `site`."""
        return self.customer(site.customer).webapps[self.site(site).webapp]

    def served_by(self, webapp: WebApp) -> tuple[Site, ...]:
        """Every site that `webapp` serves, Production first: the order in which databases are migrated."""
        order = list(Environment)
        sites = [
            site for site in self.customers[webapp.customer].sites.values() if site.webapp == webapp.name
        ]
        return tuple(sorted(sites, key=lambda site: order.index(site.id.environment)))

    def source(self, customer: CustomerName) -> Source:
        """Production of `customer`, to read from."""
        site = self.site(SiteId(customer, Environment.PRODUCTION))
        return Source(site=site, server=self.servers[site.server])

    def target(self, site: SiteId) -> Target:
        """The site `site`, to write to.

        Raises:
            Refused: it is Production.
        """
        found = self.site(site)
        return Target(site=found, server=self.servers[found.server])

    def windows(self, customer: CustomerName) -> tuple[Window, ...]:
        """The windows in which `customer`'s upgrades may happen."""
        found = self.customer(customer)
        if found.windows or found.group is None:
            return found.windows
        return self.groups[found.group].windows

    def release(self, application: ApplicationName, version: Version) -> Release:
        """The published release `version` of `application`.

        Raises:
            Refused: it is not published.
        """
        for release in self.releases:
            if release.application == application and release.version == version:
                return release
        known = ", ".join(
            release.version
            for release in sorted(self.releases, key=lambda release: release.version.parts)
            if release.application == application
        )
        raise Refused(f"version: {application} {version} is not published; published are {known or 'none'}")
