"""Swap the incoming database into the site's place; the old one is kept as the previous one.

Invariant: one transaction; the names tell whether it happened, and taking it back is the same in reverse.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.postgres.swap import is_swapped, is_swapped_back, swap_back
from infra.postgres.swap import swap as exchange
from policy.names import previous_name
from tasks.pair import pair
from tasks.releases import target_release
from tasks.step import Step, Work


def _done(work: Work) -> bool:
    ends = pair(work)
    with ends.on_server() as server:
        return is_swapped(server, ends.target.site.database, work.run)


def _do(work: Work) -> Mapping[str, object]:
    ends = pair(work)
    database = ends.target.site.database
    work.prove()
    work.mid()
    report = exchange(
        ends.on_server,
        database,
        work.run,
        at=work.clock.now(),
        release=str(target_release(work).version),
    )
    return {
        "swap_seconds": round(report.seconds, 3),
        "sessions_ended": report.ended,
        "attempts": report.attempts,
        "previous": previous_name(database, work.run),
    }


def _undo(work: Work) -> None:
    ends = pair(work)
    database = ends.target.site.database
    with ends.on_server() as server:
        swapped = is_swapped(server, database, work.run)
        back = is_swapped_back(server, database, work.run, by=work.run)
    if swapped and not back:
        work.prove()
        work.mid()
        swap_back(ends.on_server, database, work.run, by=work.run, at=work.clock.now())


swap = Step(name="swap", title="Swap the databases", done=_done, do=_do, undo=_undo)
