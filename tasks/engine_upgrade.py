"""Take the server to the new version: close the old one, carry everything over, open the new one.

Invariant: the old data directory stays whole, or a whole copy of it does, until the run has ended well;
taking back is stopping the new server and starting the old one, proven by asking it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from infra.postgres import engine as engines
from infra.postgres.engine import Engine
from policy.errors import NeedsHuman, StepFailed, Unavailable
from tasks.engine_stages import engine_of, engine_session, engine_stages, put_back
from tasks.step import Step, Work

STAGES = ("prepare", "close", "transfer", "open")
"""In one play, so that the server is away for the work alone; `prepare` finds its part done."""

PATIENCE_S = 30.0
"""So long a server that was started may take until it lets somebody in; it may have to recover first."""


def _done(work: Work) -> bool:
    engine = engine_of(work)
    return engine_stages(work, engine, *STAGES, check=True).changed == 0


def _do(work: Work) -> Mapping[str, object]:
    engine = engine_of(work)
    began = time.monotonic()
    work.mid()
    carried = engine_stages(work, engine, *STAGES)
    version, identifier = _ask(work, engine)
    wanted = carried.fact("new_major")
    if version != wanted:
        raise StepFailed(
            f"server '{engine.server.name}': version {version} answers on port {engine.server.port} after "
            f"the upgrade to {wanted}; look which servers run on {engine.host.name}"
        )
    return {
        "version": version,
        "mode": carried.fact("mode"),
        "system_identifier": identifier,
        "changed": carried.changed,
        "play_seconds": round(time.monotonic() - began, 2),
        "away_seconds": round(sum(task.seconds for task in carried.tasks if task.stage != "prepare"), 2),
        "carry_seconds": round(sum(task.seconds for task in carried.tasks if task.stage == "transfer"), 2),
        "old_data": engine.old.data,
    }


def _undo(work: Work) -> None:
    engine = engine_of(work)
    if work.fact("check_engine", "upgraded") is True:
        return  # It had the wanted version before this run began; there is nothing of this run to take back.
    put_back(work, engine)
    version, identifier = _ask(work, engine)
    known = work.fact("check_engine", "system_identifier")
    if known is not None and identifier != known:
        raise NeedsHuman(
            f"server '{engine.server.name}': after the put-back another server answers on port "
            f"{engine.server.port} than before (version {version}); look which servers run on "
            f"{engine.host.name}"
        )


def _ask(work: Work, engine: Engine) -> tuple[int, str]:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            with engine_session(work, engine) as session:
                return engines.major(session), engines.system_identifier(session)
        except Unavailable:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)


upgrade_engine = Step(
    name="upgrade_engine", title="Take the server to the new version", done=_done, do=_do, undo=_undo
)
