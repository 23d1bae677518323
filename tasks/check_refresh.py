"""Check before a refresh: everything that can be known before anything is changed, told at once.

Invariant: only looks. A finding ends the run with the target untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import psycopg

from infra.postgres.classify import classify
from infra.postgres.conditions import check_conditions, check_probes
from infra.postgres.dress import check_dress
from infra.postgres.fences import check_fences
from infra.postgres.fingerprint import fingerprint
from infra.postgres.preflight import preflight
from infra.postgres.preserve import check_preserve
from infra.postgres.reach import settle
from infra.postgres.schema import read_schema
from infra.postgres.selections import selections
from infra.postgres.swap import check_swap
from policy.errors import Refused
from tasks.pair import Pair, pair
from tasks.releases import installed_release, same_release
from tasks.step import Step, Work


def _done(_work: Work) -> bool:
    return False


def _do(work: Work) -> Mapping[str, object]:
    ends = pair(work)
    with ends.on_source() as source, ends.on_target() as target, ends.on_server() as server:
        settle(source)
        source.commit()
        findings = [
            *_refusals(
                lambda: check_fences(
                    ends.source,
                    ends.target,
                    source_connection=source,
                    target_connection=target,
                    secrets=work.secrets,
                )
            ),
            *_refusals(ends.key),
            *_versions(work, ends),
            *check_swap(server, ends.target.site.database),
            *check_dress(server, ends.target.site.database),
            *_policy(work, ends, source, target),
        ]
        if findings:
            raise Refused(*findings)
        found = fingerprint(source)
    return {"fingerprint": found, "policy": ends.protection().digest}


def _policy(work: Work, ends: Pair, source: psycopg.Connection, target: psycopg.Connection) -> Iterator[str]:
    try:
        protection = ends.protection()
    except Refused as refused:
        yield from refused.findings
        return
    schema = read_schema(source)
    missing = classify(protection, schema)
    yield from missing
    if not missing:
        taken = selections(protection, schema)
        yield from check_conditions(source, taken, ends.key())
        yield from check_probes(source, protection)
        yield from preflight(ends.job(taken, fingerprint(source)))
    if same_release(work, ends.source.site, ends.target.site):
        # A newer target's schema is met after the migration only; the step itself checks it then.
        yield from check_preserve(protection, read_schema(target), schema)


def _versions(work: Work, ends: Pair) -> Iterator[str]:
    source, target = (
        installed_release(work, work.estate.webapp(site.id)) for site in (ends.source.site, ends.target.site)
    )
    if target.version.parts < source.version.parts:
        yield (
            f"version: {ends.target.site.id} runs {target.version} and Production {source.version}; data do "
            "not go back to an older release, so upgrade the site first (an upgrade with a refresh does both)"
        )


def _refusals(check: Callable[[], object]) -> tuple[str, ...]:
    try:
        check()
    except Refused as refused:
        return refused.findings
    return ()


def _undo(work: Work) -> None:
    """Looking changed nothing."""


check_refresh = Step(name="check_refresh", title="Check before the refresh", done=_done, do=_do, undo=_undo)
