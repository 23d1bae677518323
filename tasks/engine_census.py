"""Count what is on the server, after the application has stopped and before the server does.

Invariant: only reads; what was counted goes into the journal, so that a successor can compare as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.postgres import engine as engines
from infra.postgres import engine_census as census
from infra.postgres.engine import Engine, Mode
from infra.postgres.engine_census import Census
from tasks.engine_stages import engine_of, engine_session
from tasks.step import Step, Work

SERVER = "the server"


def count(work: Work, engine: Engine) -> Mapping[str, Census]:
    """The census of the server and of each of its databases, by name."""
    with engine_session(work, engine) as session:
        found: dict[str, Census] = {SERVER: census.of_server(session)}
        names = engines.databases(session)
    for name in names:
        with engine_session(work, engine, name) as session:
            # Files that are carried over as they are need no counting row by row.
            found[f"database {name}"] = census.of_database(session, rows=engine.mode is Mode.DUMP)
    return found


def _done(_work: Work) -> bool:
    return False


def _do(work: Work) -> Mapping[str, object]:
    engine = engine_of(work)
    with engine_session(work, engine) as session:
        version = engines.major(session)
    return {"census": count(work, engine), "of_version": version}


def _undo(_work: Work) -> None:
    """Counting changed nothing."""


count_engine = Step(name="count_engine", title="Count what is there", done=_done, do=_do, undo=_undo)
