"""The customers of a simulated year: their servers, hosts, groups and windows, in seven time zones.

Invariant: the same draw makes the same estate; enough servers and hosts for all, a fifth of the customers in
groups.
"""

from __future__ import annotations

import random
from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

from policy.estate import Customer, Estate, Group, GroupKind, Site, WebApp
from policy.machines import DatabaseServer, Host, Login
from policy.maintenance_window import Freeze, Weekday, Window
from policy.names import (
    ApplicationName,
    CustomerName,
    DatabaseName,
    Environment,
    GroupName,
    HostName,
    SecretName,
    ServerName,
    SiteId,
    WebAppName,
)

ZONES = [
    ZoneInfo(name)
    for name in (
        "America/Chicago",
        "America/New_York",
        "America/Denver",
        "America/Los_Angeles",
        "America/Phoenix",
        "Europe/Berlin",
        "Australia/Sydney",
    )
]


def estate(customers: int, draw: random.Random) -> Estate:
    """So many customers on enough servers, a fifth of them in groups."""
    servers = [_server(f"live{n}", production=True) for n in range(max(1, customers // 40))]
    servers += [_server(f"trial{n}", production=False) for n in range(max(1, customers // 40))]
    hosts = [Host(name=HostName(f"web{n}"), connection="ssh") for n in range(max(1, customers // 20))]
    groups = [
        Group(
            name=GroupName(f"g{n}"),
            title=f"Group {n}",
            kind=GroupKind.CONSORTIUM,
            windows=(_window(draw, draw.choice(ZONES)),),
        )
        for n in range(max(1, customers // 50))
    ]
    found = []
    for number in range(customers):
        group = draw.choice(groups).name if number % 5 == 0 else None
        found.append(_customer(number, group, draw, customers))
    freeze = Freeze(
        name="year end",
        zone=ZONES[0],
        first=date(2026, 12, 22),
        last=date(2027, 1, 3),
        reason="books are closed",
        yearly=True,
    )
    return Estate(
        name="year",
        undo=timedelta(days=7),
        servers={server.name: server for server in servers},
        hosts={host.name: host for host in hosts},
        applications={},
        releases=(),
        groups={group.name: group for group in groups},
        customers={customer.name: customer for customer in found},
        contacts={},
        freezes=(freeze,),
        concurrent_runs=max(4, customers // 8),
    )


def _server(name: str, *, production: bool) -> DatabaseServer:
    login = Login(user="owner", secret=SecretName("owner"))
    return DatabaseServer(
        name=ServerName(name),
        host="127.0.0.1",
        port=5432,
        production=production,
        system_identifier=None,
        owner=login,
        reader=login,
        slots=4,
    )


def _window(draw: random.Random, zone: ZoneInfo) -> Window:
    return Window(
        name="night",
        zone=zone,
        days=frozenset({draw.choice([Weekday.SUN, Weekday.SUN, Weekday.THU, Weekday.TUE])}),
        start=draw.choice([time(0, 30), time(1), time(2, 15), time(4)]),
        length=timedelta(hours=draw.choice([3, 4, 5])),
        valid_from=date(2026, 1, 1),
    )


def _customer(number: int, group: GroupName | None, draw: random.Random, customers: int) -> Customer:
    name, zone = CustomerName(f"c{number}"), draw.choice(ZONES)
    environments = [Environment.PRODUCTION, Environment.SANDBOX]
    environments += [Environment.STAGING] if draw.random() < 0.7 else []
    environments += [Environment.PREVIEW] if draw.random() < 0.2 else []
    servers, hosts = max(1, customers // 40), max(1, customers // 20)
    webapps, sites = {}, {}
    for environment in environments:
        live = environment in {Environment.PRODUCTION, Environment.SANDBOX}
        app = WebAppName("live" if live else environment.value)
        webapps[app] = WebApp(
            customer=name,
            name=app,
            application=ApplicationName("kinto"),
            hosts=(HostName(f"web{draw.randrange(hosts)}"),),
        )
        of = "live" if environment is Environment.PRODUCTION else "trial"
        sites[environment] = Site(
            id=SiteId(name, environment),
            webapp=app,
            server=ServerName(f"{of}{draw.randrange(servers)}"),
            database=DatabaseName(f"{name}_{environment.value}"),
            url="https://example.org",
            port=443,
        )
    windows = () if group is not None else (_window(draw, zone),)
    return Customer(
        name=name,
        title=name,
        zone=zone,
        group=group,
        auto_updated=False,
        windows=windows,
        webapps=webapps,
        sites=sites,
    )
