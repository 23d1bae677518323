"""End what an earlier worker of a run left behind, before the next one acts.

Invariant: after it, no session and no process of an older epoch of this run works on any server or this host,
and no secret that one had written for a program lies in the run's folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import psycopg

from infra.ansible import end_leftovers as end_processes
from infra.ansible_start import forget_private_folders
from infra.postgres.backends import end_backends
from infra.postgres.session import connect, forget_passfiles
from policy.errors import Unavailable
from policy.estate import Estate
from policy.machines import DatabaseServer, Login
from policy.names import Environment, RunId, SiteId
from policy.request import Request
from tasks.world import World

log = logging.getLogger("freshet.run")


def end_leftovers(
    world: World, estate: Estate, request: Request, run: RunId, epoch: int, prove: Callable[[], None]
) -> int:
    """End sessions and processes of `run` that belong to epochs below `epoch`.

    Args:
        world: the secrets.
        estate: where the run may have sessions.
        request: what it works on.
        run: the run.
        epoch: of this worker.
        prove: proves it; called in each session, so that a worker that was frozen here does not end the
            sessions of the next one, and finds its own ended when it was frozen later.

    Returns:
        How many were ended.

    Raises:
        Busy: another worker has taken over meanwhile.
        Unavailable: a server does not answer, so nobody can tell whether something still works there.
    """
    folder = world.settings.run_dir / run
    ended = end_processes(run, epoch, folder)
    forget_secrets(folder)
    for server, login in _logins(estate, request):
        with connect(server, "postgres", login, world.secrets, run=run, autocommit=True) as connection:
            prove()
            try:
                ended += end_backends(connection, run=run)
            except psycopg.Error as error:
                raise Unavailable(
                    f"server '{server.name}': the sessions that {run} left could not be ended "
                    f"({type(error).__name__}); it is tried again"
                ) from error
    if ended:
        log.warning("ended %d leftovers of %s", ended, run, extra={"action": "end_leftovers", "run": run})
    return ended


def forget_secrets(folder: Path) -> int:
    """Remove what a killed process wrote for programs into a run's or an errand's folder."""
    return forget_passfiles(folder) + forget_private_folders(folder)


def _logins(estate: Estate, request: Request) -> list[tuple[DatabaseServer, Login]]:
    sites = list(estate.served_by(estate.webapp(request.site)))
    production = SiteId(request.site.customer, Environment.PRODUCTION)
    if all(site.id != production for site in sites):
        sites.append(estate.site(production))
    servers = {site.server: estate.servers[site.server] for site in sites}
    return [
        (server, login)
        for server in servers.values()
        for login in (server.owner, server.reader)
        if login is not None
    ]
