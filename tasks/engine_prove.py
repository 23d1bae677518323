"""Prove that the new version holds what the old one held, before the application may start on it.

Invariant: only reads; a difference fails the run, which then goes back to the old version with no write lost.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.postgres import engine as engines
from infra.postgres import engine_census as census
from policy.errors import StepFailed
from tasks.engine_census import count
from tasks.engine_stages import engine_of, engine_session
from tasks.step import Step, Work


def _done(_work: Work) -> bool:
    return False


def _do(work: Work) -> Mapping[str, object]:
    engine = engine_of(work)
    before = work.fact("count_engine", "census")
    if not isinstance(before, Mapping):
        raise StepFailed("what was there before is not in the journal, so nothing can be compared")
    after = count(work, engine)
    different = census.differences(before, after)
    if different:
        raise StepFailed("not everything was carried over: " + "; ".join(different[:10]))
    findings = []
    for name in sorted(place.removeprefix("database ") for place in after if place.startswith("database ")):
        with engine_session(work, engine, name) as session:
            row = session.execute(
                "select count(*) from pg_index i join pg_class c on c.oid = i.indexrelid"
                " where not i.indisvalid or not i.indisready"
            ).fetchone()
            version = engines.major(session)
            if row is not None and int(str(row[0])):
                findings.append(f"database '{name}' has {row[0]} indexes that are not valid")
    return {"version": version, "compared": sorted(after), "notes": findings}


def _undo(_work: Work) -> None:
    """Looking changed nothing."""


prove_engine = Step(name="prove_engine", title="Compare with what was there", done=_done, do=_do, undo=_undo)
