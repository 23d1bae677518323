"""`freshet estate …`: prove the estate's file, and look at what it declares."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from infra.estate_file import check_estate, load_estate
from infra.postgres.roles_sql import roles_script
from infra.settings import settings
from policy.errors import Refused
from policy.estate import Customer, Estate, Release
from policy.names import ServerName
from portal.cli.output import REFUSED, answers, complain, say, show_json, show_table

estate_app = typer.Typer(
    name="estate", help="The declared estate: prove it, look at it.", no_args_is_help=True
)

File = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="the estate's file (default: the one in use)", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="for machines: stable keys, UTC times")]


@estate_app.command("check")
@answers
def check(file: File = None, as_json: Json = False) -> None:
    """Report every mistake in the file at once, with line, place and remedy; exit code 2 if there is one."""
    path = file or settings().estate
    estate, findings = check_estate(path)
    if as_json:
        show_json({"file": str(path), "valid": estate is not None, "findings": [asdict(f) for f in findings]})
    elif estate is not None:
        sites = sum(len(customer.sites) for customer in estate.customers.values())
        say(f"{path}: no mistakes; {len(estate.customers)} customers, {sites} sites")
    for finding in findings:
        if not as_json:
            complain(str(finding))
    if findings:
        if not as_json:
            complain(f"{len(findings)} mistake{'s' if len(findings) > 1 else ''}; nothing was changed")
        raise typer.Exit(REFUSED)


@estate_app.command("show")
@answers
def show(as_json: Json = False) -> None:
    """List the customers, their sites, the servers and the releases."""
    estate = load_estate(settings().estate)
    if as_json:
        show_json(_plain(estate))
        return
    show_table(
        ("site", "web application", "database", "server", "address"),
        [
            (site.id, estate.webapp(site.id).key, site.database, site.server, site.url)
            for customer in estate.customers.values()
            for site in customer.sites.values()
        ],
    )
    say("")
    show_table(
        ("customer", "title", "zone", "group", "windows"),
        [
            (
                customer.name,
                customer.title,
                customer.zone.key,
                customer.group or "",
                ", ".join(window.name for window in estate.windows(customer.name)),
            )
            for customer in estate.customers.values()
        ],
    )
    say("")
    show_table(
        ("application", "version", "line", "kind", "published"),
        [
            (release.application, release.version, release.line, release.kind, release.published)
            for release in estate.releases
        ],
    )


@estate_app.command("roles")
@answers
def roles(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="a database server of the estate")],
    sql: Annotated[bool, typer.Option("--sql", help="print the script for psql")] = False,
) -> None:
    """The least-privilege roles, grants and markers that a database server needs."""
    estate = load_estate(settings().estate)
    found = estate.servers.get(ServerName(server))
    if found is None:
        raise Refused(f"database server: the estate has no '{server}'; it has {', '.join(estate.servers)}")
    if sql:
        say(roles_script(estate, found))
        return
    sites = [
        site
        for customer in estate.customers.values()
        for site in customer.sites.values()
        if site.server == found.name
    ]
    show_table(
        ("role", "secret", "may"),
        [
            (found.owner.user, found.owner.secret, "own the hosted databases, end sessions"),
            *(
                [(found.reader.user, found.reader.secret, "read everything, write nothing")]
                if found.reader
                else []
            ),
        ],
    )
    say(f"databases: {', '.join(str(site.database) for site in sites)}")


def _plain(estate: Estate) -> dict[str, object]:
    return {
        "estate": estate.name,
        "undo_days": estate.undo.days,
        "concurrent_runs": estate.concurrent_runs,
        "database_servers": [
            {
                "name": server.name,
                "host": server.host,
                "port": server.port,
                "production": server.production,
                "system_identifier": server.system_identifier,
                "slots": server.slots,
            }
            for server in estate.servers.values()
        ],
        "hosts": [
            {"name": host.name, "connection": host.connection, "address": host.address}
            for host in estate.hosts.values()
        ],
        "releases": [_release(release) for release in estate.releases],
        "groups": [
            {
                "name": group.name,
                "title": group.title,
                "kind": group.kind.value,
                "windows": [window.name for window in group.windows],
            }
            for group in estate.groups.values()
        ],
        "customers": [_customer(estate, customer) for customer in estate.customers.values()],
        "contacts": [
            {
                "email": contact.email,
                "name": contact.name,
                "zone": contact.zone.key,
                "role": contact.role.value,
                "customers": sorted(contact.customers),
                "groups": sorted(contact.groups),
            }
            for contact in estate.contacts.values()
        ],
    }


def _release(release: Release) -> dict[str, object]:
    return {
        "application": release.application,
        "version": release.version,
        "line": release.line,
        "kind": release.kind.value,
        "sha256": release.sha256,
        "published": release.published.isoformat(),
        "follow_up": release.follow_up,
    }


def _customer(estate: Estate, customer: Customer) -> dict[str, object]:
    return {
        "name": customer.name,
        "title": customer.title,
        "zone": customer.zone.key,
        "group": customer.group,
        "auto_updated": customer.auto_updated,
        "windows": [window.name for window in estate.windows(customer.name)],
        "sites": [
            {
                "site": str(site.id),
                "environment": site.id.environment.value,
                "webapp": estate.webapp(site.id).key,
                "server": site.server,
                "database": site.database,
                "url": site.url,
                "port": site.port,
            }
            for site in customer.sites.values()
        ],
    }
