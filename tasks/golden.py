"""Golden images over time: what is kept where and how old, what is due, what is dropped.

Invariant: what is there is read from the servers; the ledger only tells who builds and how that ended. An
image is dropped only when it is this ledger's, or is dropped by name by an engineer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

from infra.ledger import goldens, installed, pauses
from infra.ledger.goldens import Build, BuildOutcome
from infra.postgres.golden_build import drop_image
from infra.postgres.golden_image import Golden, Kept, kept_images, proof_word
from infra.postgres.neutralise import Places
from infra.postgres.session import connect
from infra.protection_file import load_protection
from policy.errors import Refused, Unavailable
from policy.estate import Estate, Site
from policy.machines import DatabaseServer
from policy.names import CustomerName, Environment, ServerName, Version, golden_name
from tasks.golden_build import sites_with_images
from tasks.world import World

RUN = "golden"
AFTER_A_FAILURE = timedelta(hours=1)
"""A build that failed is not tried again sooner by itself."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One site's image, or that it has none.

    Attributes:
        why_not: why the image would not be cloned, as far as the server alone can tell; empty when it would.
        build: the last build of it.
        due: when the next build is due by the estate's `golden_every_hours`; None when never.
    """

    site: Site
    name: str
    image: Golden | None
    why_not: str
    build: Build | None
    building: bool
    due: datetime | None


def golden_view(world: World, customer: CustomerName | None = None) -> list[Standing]:
    """Every site that could have an image, of all customers or of one.

    Raises:
        Refused: the estate has no such customer.
        Unavailable: a server or the ledger does not answer.
    """
    estate, now = world.estate(), world.clock.now()
    wanted = list(estate.customers) if customer is None else [estate.customer(customer).name]
    found: list[Standing] = []
    images = {name: _images(world, estate.servers[name]) for name in _servers(estate, wanted)}
    with world.ledger.transaction() as connection:
        running = installed.versions(connection)
        busy = {(each.customer, each.server) for each in goldens.under_way(connection, _lease(world))}
        last = {
            (name, server): goldens.last(connection, name, server)
            for name in wanted
            for server in _servers(estate, [name])
        }
    for name in wanted:
        for site in _refreshed(estate, name):
            kept = next((k for k in images[site.server] if k.name == golden_name(site.database)), None)
            image = kept.image if kept is not None else None
            build = last[name, site.server]
            why_not = _why_not(estate, running, site, image, now)
            found.append(
                Standing(
                    site=site,
                    name=golden_name(site.database),
                    image=image,
                    why_not=why_not,
                    build=build,
                    building=(name, site.server) in busy,
                    due=_due(estate, image, why_not, build, now),
                )
            )
    return found


def due_builds(world: World) -> list[tuple[CustomerName, ServerName, datetime]]:
    """What is to be built now by the estate's schedule: customer, server, and since when it is due."""
    estate, now = world.estate(), world.clock.now()
    if not estate.golden_every:
        return []
    due: dict[tuple[CustomerName, ServerName], datetime] = {}
    with world.ledger.transaction() as connection:
        held = {
            site.id
            for name in estate.customers
            for site in _refreshed(estate, name)
            if pauses.applying(connection, estate, site.id, now) is not None
        }
    for each in golden_view(world):
        if each.due is None or each.due > now or each.building or each.site.id in held:
            continue
        key = (each.site.id.customer, each.site.server)
        due[key] = min(each.due, due.get(key, each.due))
    return [(customer, server, since) for (customer, server), since in due.items()]


def drop_images(
    world: World, customer: CustomerName, environment: Environment | None = None
) -> list[tuple[str, int]]:
    """Drop a customer's images, or one site's.

    Returns:
        The name and bytes of each that was dropped.

    Raises:
        Refused: a build of them is under way, or the estate has no such customer or site.
        Unavailable: a server or the ledger does not answer.
    """
    estate = world.estate()
    sites = [
        site
        for group in sites_with_images(estate, customer).values()
        for site in group
        if environment is None or site.id.environment is environment
    ]
    if not sites:
        raise Refused(f"site: {customer} has no {environment}; `freshet golden list` shows what it has")
    with world.ledger.transaction() as connection:
        for build in goldens.under_way(connection, _lease(world)):
            if build.customer == customer and build.server in {site.server for site in sites}:
                raise Refused(
                    f"golden images of {customer} on {build.server} are being built since "
                    f"{build.begun_at:%H:%M} UTC; wait for the end of that"
                )
    dropped = []
    for site in sites:
        with _session(world, estate.servers[site.server]) as admin:
            for kept in kept_images(admin):
                if kept.name == golden_name(site.database) and kept.image is not None:
                    drop_image(admin, kept.name)
                    dropped.append((kept.name, kept.bytes))
    return dropped


def tidy_images(world: World, *, dry_run: bool) -> Iterator[str]:
    """Drop images that are too old to be cloned or whose site is gone, and what dead builders left.

    Args:
        world: the ledger and the estate.
        dry_run: only say what would be dropped.

    Yields:
        A line for each thing dropped, or that could not be.
    """
    estate, now = world.estate(), world.clock.now()
    with world.ledger.transaction() as connection:
        ledger = goldens.ledger_identity(connection)
        alive = {build.number for build in goldens.under_way(connection, _lease(world))}
    declared = {
        (site.server, site.database) for name in estate.customers for site in _refreshed(estate, name)
    }
    for server in estate.servers.values():
        if server.production:
            continue
        try:
            with _session(world, server) as admin:
                for kept in kept_images(admin):
                    told = f"{kept.name} on {server.name} ({kept.bytes} bytes)"
                    known = (server.name, kept.database) in declared
                    if not kept.ledger and known:
                        yield f"left alone: {told}: it does not say whose it is; look, and drop it by hand"
                    why = _outlived(estate, kept, now, alive, declared=known)
                    if kept.ledger != ledger or not why:
                        continue
                    if not dry_run:
                        drop_image(admin, kept.name)
                    yield f"{'would drop' if dry_run else 'dropped'} {told}: {why}"
        except (Unavailable, psycopg.Error) as error:
            words = error if isinstance(error, Unavailable) else type(error).__name__
            yield f"{server.name}: golden images could not be tidied ({words}); the next sweep tries again"


def _outlived(estate: Estate, kept: Kept, now: datetime, alive: set[int], *, declared: bool) -> str:
    if kept.building is not None:
        return "" if kept.building.build in alive else "its builder is gone"
    if kept.image is None:
        return ""
    if not declared:
        return "its site is not declared any more"
    if kept.image.age(now) > estate.golden_oldest:
        return f"its data are older than {estate.golden_oldest / timedelta(hours=1):.0f} h"
    return ""


def _why_not(
    estate: Estate, running: Mapping[str, Version], site: Site, image: Golden | None, now: datetime
) -> str:
    """Why the image would not be cloned; what only Production can tell (its schema) is found when it is."""
    if image is None:
        return "there is none"
    try:
        protection = load_protection(estate.webapp(site.id).application)
    except Refused as refused:
        return str(refused)
    source = estate.source(site.id.customer).site
    release = running.get(estate.webapp(source.id).key)
    if release is None or image.proven != proof_word(protection, Places.of(source, site), release):
        return "the policy, the addresses or Production's release changed since"
    if image.age(now) > estate.golden_oldest:
        return "its data are too old"
    return ""


def _due(
    estate: Estate, image: Golden | None, why_not: str, build: Build | None, now: datetime
) -> datetime | None:
    if not estate.golden_every:
        return None
    due = now if image is None or why_not else datetime.fromisoformat(image.as_of) + estate.golden_every
    if build is not None and build.outcome is BuildOutcome.FAILED and build.ended_at is not None:
        return max(due, build.ended_at + AFTER_A_FAILURE)
    return due


def _refreshed(estate: Estate, customer: CustomerName) -> list[Site]:
    return [
        site
        for site in estate.customers[customer].sites.values()
        if site.id.environment is not Environment.PRODUCTION
    ]


def _servers(estate: Estate, customers: list[CustomerName]) -> list[ServerName]:
    return list(dict.fromkeys(site.server for name in customers for site in _refreshed(estate, name)))


def _images(world: World, server: DatabaseServer) -> tuple[Kept, ...]:
    with _session(world, server) as admin:
        return kept_images(admin)


def _session(world: World, server: DatabaseServer) -> psycopg.Connection:
    return connect(server, "postgres", server.owner, world.secrets, run=RUN, autocommit=True)


def _lease(world: World) -> int:
    return world.settings.lease_seconds
