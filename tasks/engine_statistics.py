"""Rebuild what a change of version leaves behind: extensions of the old version, and missing statistics.

Invariant: the application does not start on a server whose planner knows nothing. Nothing is to be taken back
here: going back to the old version leaves all of this behind.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from infra.postgres import engine as engines
from infra.postgres import engine_census as census
from infra.postgres import engine_extensions as extensions
from infra.postgres.engine import Engine
from infra.postgres.engine_statistics import collect
from policy.errors import StepFailed
from tasks.engine_stages import engine_of, engine_session
from tasks.step import Step, Work


def _names(work: Work, engine: Engine) -> tuple[str, ...]:
    with engine_session(work, engine) as session:
        return engines.databases(session)


def _lacking(work: Work, engine: Engine) -> dict[str, int]:
    found = {}
    for name in _names(work, engine):
        with engine_session(work, engine, name) as session:
            found[name] = census.without_statistics(session)
    return {name: count for name, count in found.items() if count}


def _behind(work: Work, engine: Engine) -> bool:
    for name in _names(work, engine):
        with engine_session(work, engine, name) as session:
            if extensions.behind(session):
                return True
    return False


def _done(work: Work) -> bool:
    engine = engine_of(work)
    return not engine.full_analyze and not _behind(work, engine) and not _lacking(work, engine)


def _do(work: Work) -> Mapping[str, object]:
    engine = engine_of(work)
    updated: dict[str, Mapping[str, str]] = {}
    for name in _names(work, engine):
        with engine_session(work, engine, name) as session:
            work.prove()
            done = extensions.update(session)
            if done:
                updated[name] = done
    work.mid()
    began = time.monotonic()
    lacked = _lacking(work, engine)
    if lacked or engine.full_analyze:
        with engine_session(work, engine) as session:
            major = engines.major(session)
        work.prove()
        collect(engine, major, secrets=work.secrets, scratch=work.scratch, run_id=work.run)
    left = _lacking(work, engine)
    if left:
        raise StepFailed(
            "tables are still without statistics: "
            + ", ".join(f"{count} in {name}" for name, count in sorted(left.items()))
        )
    return {
        "extensions": updated,
        "were_without_statistics": lacked,
        "statistics_seconds": round(time.monotonic() - began, 2),
    }


def _undo(_work: Work) -> None:
    """The old version has its own extensions and statistics."""


rebuild_statistics = Step(
    name="rebuild_statistics", title="Rebuild statistics", done=_done, do=_do, undo=_undo
)
