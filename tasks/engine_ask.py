"""Ask for a server's change of version, or only look whether it could be done.

Invariant: nothing is written unless the server, its declaration and the wanted version agree; a look changes
nothing, neither in the ledger nor on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from infra.ledger import requests
from infra.postgres.engine_file import FILE, load_engine
from policy.engine_version import EngineVersion
from policy.errors import Refused, StepFailed
from policy.estate import Estate, Site
from policy.free_text import free_text
from policy.names import RequestId, RunId, ServerName
from policy.permissions import Action, Principal, may, refusal
from policy.request import Kind, Request
from tasks.change import announce
from tasks.engine_check import engine_readiness
from tasks.engine_stages import engine_of, engine_stages
from tasks.errand import errand
from tasks.step import Work
from tasks.world import World


def ask_engine(
    world: World,
    server: ServerName,
    to: EngineVersion,
    principal: Principal,
    *,
    at: datetime | None = None,
    note: str = "",
    told: Callable[[str], None] = lambda _: None,
) -> Request:
    """Write a request that takes `server` to `to`.

    Args:
        world: the ledger and the estate.
        server: of the estate, declared in `engines.yaml`.
        to: the wanted major version.
        principal: on whose authority.
        at: not before this instant; its window decides.
        note: the asker's own words.
        told: what is looked at meanwhile.

    Raises:
        Refused: it may not be asked for, is not declared, or the server has this version already.
        Unavailable: the server's host does not answer; ask again.
    """
    estate, now = world.estate(), world.clock.now()
    site = _site(estate, server, principal)
    words = free_text(note, "note", required=False)
    if not estate.windows(site.id.customer):
        raise Refused(
            f"at: {site.id.customer} has no maintenance window; declare one in the estate's file first"
        )
    with world.ledger.transaction() as connection:
        number = requests.next_number(connection)
    wanted = _request(number, site, to, principal, now, not_before=at)
    with errand(world, wanted, RunId.of(number, 1), told) as work:
        _demand(work, to)
    with world.ledger.transaction() as connection:
        request = requests.insert(connection, wanted, webapp=estate.webapp(site.id).key, note=words)
        announce(world, connection, estate, request, at=now, who=principal.email)
    return request


def look_engine(
    world: World,
    server: ServerName,
    to: EngineVersion,
    principal: Principal,
    told: Callable[[str], None] = lambda _: None,
) -> Mapping[str, object]:
    """Everything that the upgrade would look at before it disturbs anybody, the rehearsal included.

    Returns:
        What is known of the server; `upgraded` says that it has the wanted version already.

    Raises:
        Refused: something is in the way; every finding, each with its remedy.
        Unavailable: the server or its host does not answer.
    """
    estate = world.estate()
    site = _site(estate, server, principal)
    with world.ledger.transaction() as connection:
        number = requests.next_number(connection)
    request = _request(number, site, to, principal, world.clock.now())
    with errand(world, request, RunId.of(number, 1), told) as work:
        return engine_readiness(work)


def _site(estate: Estate, server: ServerName, principal: Principal) -> Site:
    """The site under whose name the work on `server` is kept: its web application is the one cut off."""
    if server not in estate.servers:
        raise Refused(f"server: the estate has no '{server}'; it has {', '.join(sorted(estate.servers))}")
    held = [
        site
        for customer in estate.customers.values()
        for site in customer.sites.values()
        if site.server == server
    ]
    if not held:
        raise Refused(f"server: no site has its database on '{server}'; upgrade it by hand")
    webapps = sorted({estate.webapp(site.id).key for site in held})
    if len(webapps) > 1:
        raise Refused(
            f"server: '{server}' holds databases of {', '.join(webapps)}; all of them would be cut off, and "
            "only one could be told so; move them to servers of their own first"
        )
    if not may(principal, Action.UPGRADE_SERVER, estate, held[0].id):
        raise Refused(refusal(principal, Action.UPGRADE_SERVER, estate, held[0].id))
    return held[0]


def _demand(work: Work, to: EngineVersion) -> None:
    """Check quickly that the declaration leads to `to`; the run itself checks everything."""
    load_engine(work.settings.estate.parent / FILE, work.estate, work.estate.site(work.request.site).server)
    try:
        host = engine_stages(work, engine_of(work), "preflight")
    except StepFailed as error:
        raise Refused(f"server: {error}") from error
    if str(host.fact("new_major")) != to:
        raise Refused(
            f"to: the programs declared for the new version are {host.fact('new_major')}, not {to}; "
            f"mend {FILE}"
        )
    if host.fact("upgraded") and host.fact("serving") == "new":
        raise Refused(f"to: the server has version {to} already; there is nothing to do")


def _request(
    number: RequestId,
    site: Site,
    to: EngineVersion,
    principal: Principal,
    now: datetime,
    *,
    not_before: datetime | None = None,
) -> Request:
    return Request(
        id=number,
        kind=Kind.ENGINE,
        site=site.id,
        version=to,
        refresh=False,
        asked_by=principal.email,
        asked_at=now,
        not_before=not_before,
        start_by=None,
    )
