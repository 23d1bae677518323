"""Undo a finished refresh: the database that it replaced comes back, the refreshed one is set aside.

Invariant: the same exchange as the swap, so it takes as long and fails as safely. What was written to the
site since the refresh is set aside with it, and kept until the sweep drops it.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from infra.postgres.swap import check_swap, swap_back, swap_forward
from infra.postgres.tag import Standing, TaggedDatabase, tagged
from policy.errors import Refused
from policy.names import failed_name
from tasks.pair import Pair, pair
from tasks.releases import target_release
from tasks.step import Step, Work


def _done(work: Work) -> bool:
    ends = pair(work)
    with ends.on_server() as server:
        return _named(server, failed_name(ends.target.site.database, work.run)) is not None


def _do(work: Work) -> Mapping[str, object]:
    ends = pair(work)
    database = ends.target.site.database
    with ends.on_server() as server:
        found, findings = judge_undo(work, ends, server)
    if findings or found is None:
        raise Refused(*findings)
    work.prove()
    work.mid()
    report = swap_back(ends.on_server, database, found.tag.run, by=work.run, at=work.clock.now())
    return {
        "undone_run": found.tag.run,
        "swap_seconds": round(report.seconds, 3),
        "set_aside": failed_name(database, work.run),
    }


def _undo(work: Work) -> None:
    ends = pair(work)
    database = ends.target.site.database
    with ends.on_server() as server:
        aside = _named(server, failed_name(database, work.run))
    if aside is not None and aside.tag.of is not None:
        work.prove()
        work.mid()
        swap_forward(ends.on_server, database, aside.tag.of, by=work.run, at=work.clock.now())


def judge_undo(
    work: Work, ends: Pair, server: psycopg.Connection
) -> tuple[TaggedDatabase | None, tuple[str, ...]]:
    """The database that would come back, and every reason why it must not."""
    site = ends.target.site
    found = _previous(work, server, ends)
    if found is None:
        finding = (
            f"request: the database that {work.request.undoes} replaced is gone (its time was over, or it "
            "was undone before); ask for a new refresh"
        )
        return None, (finding,)
    findings = list(check_swap(server, site.database))
    now = target_release(work).version
    if found.tag.release and found.tag.release != now:
        findings.append(
            f"version: {site.id} runs {now} since, and the database that {work.request.undoes} replaced "
            f"belongs to {found.tag.release}; it would not fit. Ask for a new refresh; an engineer finds "
            f"rows of before in '{found.name}' until the undo period ends"
        )
    return found, tuple(findings)


def _previous(work: Work, server: psycopg.Connection, ends: Pair) -> TaggedDatabase | None:
    """The newest database that a run of the undone request set aside for this site."""
    found = [
        each
        for each in tagged(server)
        if each.tag.standing is Standing.PREVIOUS
        and each.tag.database == ends.target.site.database
        and each.tag.run.request == work.request.undoes
    ]
    return max(found, key=lambda each: each.tag.run.attempt, default=None)


def _named(server: psycopg.Connection, name: str) -> TaggedDatabase | None:
    return next((each for each in tagged(server) if each.name == name), None)


undo_refresh = Step(name="undo_refresh", title="Undo the refresh", done=_done, do=_do, undo=_undo)
