"""Rebuild what a change of version leaves behind: extensions of the old version, and missing statistics.

Invariant: the application does not start on a server whose planner knows nothing. Nothing is to be taken back
here: going back to the old version leaves all of this behind.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.postgres import engine as engines
from infra.postgres import engine_census as census
from infra.postgres import engine_extensions as extensions
from infra.postgres.engine import Engine
from policy.errors import StepFailed
from tasks.engine_stages import engine_of, engine_session, engine_stages
from tasks.step import Step, Work


def _lacking(work: Work, engine: Engine) -> dict[str, int]:
    with engine_session(work, engine) as session:
        names = engines.databases(session)
    found = {}
    for name in names:
        with engine_session(work, engine, name) as session:
            lacking = census.without_statistics(session)
            if lacking:
                found[name] = lacking
    return found


def _done(work: Work) -> bool:
    engine = engine_of(work)
    with engine_session(work, engine) as session:
        names = engines.databases(session)
    for name in names:
        with engine_session(work, engine, name) as session:
            if extensions.behind(session) or census.without_statistics(session):
                return False
    return not engine.full_analyze


def _do(work: Work) -> Mapping[str, object]:
    engine = engine_of(work)
    with engine_session(work, engine) as session:
        names = engines.databases(session)
    updated: dict[str, Mapping[str, str]] = {}
    for name in names:
        with engine_session(work, engine, name) as session:
            work.prove()
            done = extensions.update(session)
            if done:
                updated[name] = done
        work.mid()
    lacked = _lacking(work, engine)
    seconds = 0.0
    if lacked or engine.full_analyze:
        seconds = engine_stages(work, engine, "statistics").seconds
    left = _lacking(work, engine)
    if left:
        raise StepFailed(
            "tables are still without statistics: "
            + ", ".join(f"{count} in {name}" for name, count in sorted(left.items()))
        )
    return {"extensions": updated, "were_without_statistics": lacked, "statistics_seconds": seconds}


def _undo(_work: Work) -> None:
    """The old version has its own extensions and statistics."""


rebuild_statistics = Step(
    name="rebuild_statistics", title="Rebuild statistics", done=_done, do=_do, undo=_undo
)
