"""What an estate must be beyond resolved references: the rules between its parts.

Invariant: each rule looks at what is there and leaves out what is missing (that is reported already).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from infra.estate_findings import Findings
from infra.estate_yaml import Key
from policy.estate import Customer, Estate, Role, Site, WebApp
from policy.maintenance_window import Weekday, Window
from policy.names import Environment

_RESERVED_DATABASES = frozenset({"postgres", "template0", "template1"})
_RESERVED_VARIABLES = frozenset({"application", "maintenance", "release", "sites", "stages", "webapp_key"})
_YEAR = timedelta(days=366)


def check(estate: Estate, windows: Mapping[str, Window], findings: Findings) -> None:
    """Report every rule that `estate` and its `windows` break."""
    _golden(estate, findings)
    # A customer of whom a part was left out is not also told what that part lacks.
    broken = {f.path.split(".")[1] for f in findings.found if f.path.startswith("customers.")}
    _windows(windows, findings)
    _freezes(estate, findings)
    _servers(estate, findings)
    _hosts(estate, findings)
    _releases(estate, findings)
    for customer in estate.customers.values():
        _customer(estate, customer, findings, whole=customer.name not in broken)
    _distinct_sites(estate, findings)
    for contact in estate.contacts.values():
        if contact.role is Role.CONTACT and not contact.customers and not contact.groups:
            findings.add(
                ("contacts", contact.email), "this contact may see nothing", "give it customers or groups"
            )


def _golden(estate: Estate, findings: Findings) -> None:
    if estate.golden_every and estate.golden_oldest <= estate.golden_every:
        problem = "images would be too old before the next is built"
        findings.add(("golden_oldest_hours",), problem, "make it longer than golden_every_hours")


def _windows(windows: Mapping[str, Window], findings: Findings) -> None:
    for window in windows.values():
        path = ("windows", window.name)
        if not window.days:
            findings.add((*path, "days"), "it never opens", "name at least one day")
        elif window.valid_until is not None:
            span = (window.valid_until - window.valid_from).days + 1
            days = list(Weekday)
            opens = any(
                days[(window.valid_from + timedelta(days=ahead)).weekday()] in window.days
                for ahead in range(min(span, 7))
            )
            if not opens:
                problem = "it never opens: none of its days lies between valid_from and valid_until"
                findings.add((*path, "valid_until"), problem, "correct the dates or the days")


def _freezes(estate: Estate, findings: Findings) -> None:
    for freeze in estate.freezes:
        path = ("freezes", freeze.name, "last")
        if freeze.last < freeze.first:
            findings.add(path, "it ends before it begins", "swap the dates")
        elif freeze.yearly and freeze.last - freeze.first >= _YEAR:
            findings.add(path, "a yearly freeze of a year never ends", "shorten it")


def _servers(estate: Estate, findings: Findings) -> None:
    places: dict[tuple[str, int], str] = {}
    identities: dict[str, str] = {}
    for server in estate.servers.values():
        path = ("database_servers", server.name)
        if server.production and server.reader is None:
            problem = "it holds Production and has no reader, so nothing could be copied from it"
            remedy = "add 'reader' with a role that is only in pg_read_all_data and pg_read_all_stats"
            findings.add(path, problem, remedy)
        if server.reader is not None and server.reader.user == server.owner.user:
            problem = "the reader is the owner, who may write"
            findings.add((*path, "reader", "user"), problem, "use a role of its own for reading")
        first = places.setdefault((server.host, server.port), server.name)
        if first != server.name:
            findings.add((*path, "port"), f"'{first}' is at the same host and port", "declare a server once")
        if server.system_identifier is not None:
            first = identities.setdefault(server.system_identifier, server.name)
            if first != server.name:
                problem = f"'{first}' is pinned to the same cluster"
                findings.add((*path, "system_identifier"), problem, "look which of the two is meant")


def _hosts(estate: Estate, findings: Findings) -> None:
    for host in estate.hosts.values():
        if host.connection == "ssh" and host.address is None:
            findings.add(("hosts", host.name), "an ssh host without an address", "add 'address'")


def _releases(estate: Estate, findings: Findings) -> None:
    first_at: dict[tuple[str, str], int] = {}
    for index, release in enumerate(estate.releases):
        path = ("releases", index)
        first = first_at.setdefault((release.application, release.version), index)
        if first != index:
            problem = f"{release.application} {release.version} is published at releases[{first}] already"
            findings.add((*path, "version"), problem, "remove one of the two")
        if f"{release.version}.".startswith(f"{release.line}."):
            continue
        problem = f"{release.version} does not belong to line {release.line}"
        findings.add((*path, "line"), problem, "write the version's first numbers as the line")


def _customer(estate: Estate, customer: Customer, findings: Findings, *, whole: bool) -> None:
    path = ("customers", customer.name)
    group = estate.groups.get(customer.group) if customer.group is not None else None
    if whole and not customer.windows and not (group is not None and group.windows):
        problem = "it has no maintenance window, and no group that has one, so no upgrade could ever start"
        findings.add(path, problem, "add 'windows', or link it to a group")
    if whole and Environment.PRODUCTION not in customer.sites:
        findings.add((*path, "sites"), "there is no production site", "add 'production'")
    production = customer.sites.get(Environment.PRODUCTION)
    for site in customer.sites.values():
        _site(estate, site, production, findings)
    for webapp in customer.webapps.values():
        _webapp(customer, webapp, findings, whole=whole)


def _site(estate: Estate, site: Site, production: Site | None, findings: Findings) -> None:
    path: tuple[Key, ...] = ("customers", site.id.customer, "sites", site.id.environment.value)
    environment = site.id.environment
    server = estate.servers.get(site.server)
    if site.database in _RESERVED_DATABASES:
        findings.add((*path, "database"), "this name belongs to PostgreSQL", "choose another name")
    if server is not None and environment is Environment.PRODUCTION and not server.production:
        problem = f"database server '{server.name}' does not hold Production"
        findings.add((*path, "server"), problem, "use one with 'production: true'")
    if server is not None and environment is not Environment.PRODUCTION and server.production:
        problem = f"database server '{server.name}' holds Production, which is never written to by a refresh"
        findings.add((*path, "server"), problem, "use one with 'production: false'")
    if production is None or environment is Environment.PRODUCTION:
        return
    if environment is Environment.SANDBOX and site.webapp != production.webapp:
        problem = f"a sandbox shares Production's web application, which is '{production.webapp}'"
        findings.add((*path, "webapp"), problem, f"write 'webapp: {production.webapp}', or call it staging")
    if environment is not Environment.SANDBOX and site.webapp == production.webapp:
        problem = f"a {environment} has a web application of its own, '{site.webapp}' is Production's"
        findings.add((*path, "webapp"), problem, "declare another web application for it")


def _webapp(customer: Customer, webapp: WebApp, findings: Findings, *, whole: bool) -> None:
    path = ("customers", customer.name, "webapps", webapp.name)
    if not webapp.hosts:
        findings.add((*path, "hosts"), "it runs nowhere", "name at least one host")
    if whole and not any(site.webapp == webapp.name for site in customer.sites.values()):
        findings.add(path, "it serves no site", "remove it, or name it in a site")
    for variable in sorted(_RESERVED_VARIABLES & set(webapp.variables)):
        findings.add((*path, "variables", variable), "Freshet sets this variable itself", "remove it")


def _distinct_sites(estate: Estate, findings: Findings) -> None:
    """No two sites may meet in one database, at one port of a host, or at one address."""
    databases: dict[tuple[str, str], Site] = {}
    addresses: dict[str, Site] = {}
    ports: dict[tuple[str, int], list[Site]] = defaultdict(list)
    for customer in estate.customers.values():
        for site in customer.sites.values():
            path: Sequence[Key] = ("customers", customer.name, "sites", site.id.environment.value)
            first = databases.setdefault((site.server, site.database), site)
            if first is not site:
                problem = f"{first.id} has the same database on '{site.server}'"
                findings.add((*path, "database"), problem, "give each site a database of its own")
            first = addresses.setdefault(site.url.lower(), site)
            if first is not site:
                findings.add((*path, "url"), f"{first.id} has the same address", "give each site its own")
            webapp = customer.webapps.get(site.webapp)
            hosts = webapp.hosts if webapp is not None else ()
            taken = next((ports[host, site.port][0] for host in hosts if ports[host, site.port]), None)
            if taken is not None:
                problem = f"{taken.id} has the same port on the same host"
                findings.add((*path, "port"), problem, "give each site a port of its own there")
            for host in hosts:
                ports[host, site.port].append(site)
