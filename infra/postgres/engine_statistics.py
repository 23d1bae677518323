"""Collect what the planner must know on a server whose version has changed.

Invariant: statistics that the server has are not collected again unless asked for; rough ones come first, so
that a server that is needed early plans sensibly.
"""

from __future__ import annotations

from pathlib import Path

from infra.postgres.engine import Engine
from infra.postgres.programs import demand, programs_for, run
from infra.postgres.session import client_environment, passfile
from infra.secrets import SecretFiles
from policy.machines import Login

KNOWS_MISSING = 18
"""From this version on, statistics are carried over and vacuumdb can look for those that are not."""


def collect(engine: Engine, major: int, *, secrets: SecretFiles, scratch: Path, run_id: str) -> None:
    """Collect missing statistics, or all of them when the declaration says so or the version cannot tell.

    Args:
        engine: the server.
        major: the version that serves now.
        secrets: where the superuser's password lies.
        scratch: the run's folder.
        run_id: for the sessions' name.

    Raises:
        StepFailed: vacuumdb failed.
        Unavailable: no programs of that version are installed here.
    """
    vacuumdb = programs_for(major) / "vacuumdb"
    common = ("--all", "--no-password", f"--jobs={engine.jobs}", "--quiet")
    missing = ("--missing-stats-only",) if major >= KNOWS_MISSING else ()
    login = None if engine.secret is None else Login(user=engine.superuser, secret=engine.secret)
    access = () if login is None else ((engine.server, login),)
    with passfile(*access, secrets=secrets, scratch=scratch) as path:
        environment = client_environment(
            engine.server,
            login or Login(user=engine.superuser, secret=engine.server.owner.secret),
            database="postgres",
            passfile=path,
            run=run_id,
        )
        # A database called postgres may have been dropped; template1 is always there.
        place = "--maintenance-db=template1"
        demand(
            run(vacuumdb, *common, place, "--analyze-in-stages", *missing, environment=environment),
            f"collecting statistics on server '{engine.server.name}'",
        )
        if engine.full_analyze:
            demand(
                run(vacuumdb, *common, place, "--analyze-only", environment=environment),
                f"collecting all statistics on server '{engine.server.name}'",
            )
