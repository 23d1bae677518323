"""Fill the demo's databases: people in Production, other people elsewhere, a marker in every database.

Invariant: Production holds personal data with canaries, the other sites hold other people, so that a refresh
has something to replace and a mask something to hide.
"""

from __future__ import annotations

from infra.postgres.marker import Marker, read_marker, write_marker
from infra.postgres.session import connect
from infra.stack.demo_records import load_records
from policy.estate import Estate, Site
from policy.names import CustomerName, Environment
from tasks.world import World

RUN = "people"

IN_PRODUCTION = {"lakeside": 70_000, "harbor": 30_000}
"""About a hundred thousand in all."""

ELSEWHERE = 300
"""Records that the other sites begin with."""


def load_people(world: World, estate: Estate) -> int:
    """Fill every database that has no marker yet.

    Returns:
        How many records were written now.
    """
    written = 0
    for customer in estate.customers.values():
        for site in customer.sites.values():
            written += _fill(world, estate, site)
    return written


def _fill(world: World, estate: Estate, site: Site) -> int:
    server = estate.servers[site.server]
    production = site.id.environment is Environment.PRODUCTION
    records = IN_PRODUCTION.get(site.id.customer, ELSEWHERE) if production else ELSEWHERE
    # Other people than Production's, so that rows which survive a refresh are seen to be wrong.
    whose = (
        site.id.customer if production else CustomerName(f"{site.id.customer}-{site.id.environment.value}")
    )
    with connect(server, site.database, server.owner, world.secrets, run=RUN) as session:
        if read_marker(session) is not None:
            return 0
        session.rollback()
        load_records(session, customer=whose, records=records)
        write_marker(
            session,
            Marker(
                environment=site.id.environment,
                customer=site.id.customer,
                source="own",
                data_time=None,
                run=None,
            ),
        )
        session.commit()
    return records
