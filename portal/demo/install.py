"""Install the demo's web applications on their first release, with databases, records and markers.

Invariant: what is there already is left as it is, so that a second demo on the same stack begins where the
first one ended.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from psycopg.sql import SQL, Identifier

from infra.ansible import run_stages
from infra.ledger import installed
from infra.postgres.incoming import exists
from infra.postgres.session import connect
from policy.estate import Estate, Release, Site, WebApp
from policy.names import Version
from tasks.application import variables
from tasks.world import World

FIRST = Version("23.1.0")
RUN = "install"
TIMEOUT_S = 300.0


def install_all(world: World, tell: Callable[[str], None]) -> list[WebApp]:
    """Install every web application that the ledger does not know yet.

    Returns:
        Those that were installed now.

    Raises:
        StepFailed: an installation failed.
        Unavailable: a server or host does not answer.
    """
    estate = world.estate()
    with world.ledger.transaction() as connection:
        known = installed.versions(connection)
    missing = [
        webapp
        for customer in estate.customers.values()
        for webapp in customer.webapps.values()
        if webapp.key not in known
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for webapp in pool.map(lambda each: _install(world, estate, each), missing):
            tell(f"{webapp.key} runs {webapp.application} {FIRST}")
    return missing


def _install(world: World, estate: Estate, webapp: WebApp) -> WebApp:
    release = estate.release(webapp.application, FIRST)
    for site in estate.served_by(webapp):
        create_database(world, estate, site)
    run_stages(
        hosts=[estate.hosts[name] for name in webapp.hosts],
        variables=variables(estate, world.settings, world.secrets, webapp, release=release),
        stages=["install"],
        run=RUN,
        epoch=0,
        scratch=(world.settings.run_dir / RUN / webapp.key.replace("/", "-")).resolve(),
        secrets=world.secrets,
        timeout_s=TIMEOUT_S,
        on_event=lambda _: None,
    )
    record(world, webapp, release)
    return webapp


def create_database(world: World, estate: Estate, site: Site) -> None:
    """Create the site's empty database, which only its owner and the server's reader may enter."""
    server = estate.servers[site.server]
    with connect(server, "postgres", server.owner, world.secrets, run=RUN, autocommit=True) as session:
        if not exists(session, site.database):
            session.execute(SQL("create database {}").format(Identifier(site.database)))
            session.execute(SQL("revoke all on database {} from public").format(Identifier(site.database)))
            if server.reader is not None:
                session.execute(
                    SQL("grant connect on database {} to {}").format(
                        Identifier(site.database), Identifier(server.reader.user)
                    )
                )


def record(world: World, webapp: WebApp, release: Release) -> None:
    """Tell the ledger what `webapp` runs."""
    with world.ledger.transaction() as connection:
        installed.record(connection, webapp=webapp.key, release=release, run=None)
