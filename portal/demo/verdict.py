"""Judge the demo: every promise of the README, checked against what was seen.

Invariant: a promise that was not kept is a finding in plain words; no finding means that all were kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policy.names import RequestId, SiteId
from portal.demo.evidence import SiteState
from portal.demo.wishes import DemoWish

_BESIDE = ("public.timestamps", "public.cache")
"""What Kinto writes beside a record: a health check's own leaves a later time and a cached log-in."""
_OWN_TABLES = ("public.metadata", *_BESIDE)
"""And what its migration changes on top."""

LAKESIDE = SiteId.parse("lakeside/production")
SANDBOX = SiteId.parse("lakeside/sandbox")
HARBOR = tuple(SiteId.parse(f"harbor/{name}") for name in ("production", "sandbox"))


def judge(
    wishes: Mapping[RequestId, DemoWish],
    requests: list[dict[str, Any]],
    before: Mapping[SiteId, SiteState],
    after: Mapping[SiteId, SiteState],
    *,
    runs: int,
    dead_letters: int,
) -> Iterator[str]:
    """Every promise that was not kept.

    Args:
        wishes: what was asked for, by request.
        requests: how each ended, as `freshet request show --json` gives it.
        before: every site's state before.
        after: every site's state after.
        runs: how many requests the messages gave.
        dead_letters: how many messages were put aside.
    """
    for request in requests:
        wish = wishes[RequestId(request["id"])]
        if request["outcome"] != wish.outcome:
            yield f"{request['id']} ({wish.title}) ended as {request['outcome']}: {request['reason']}"
    if runs != len(wishes):
        yield f"the messages gave {runs} requests instead of {len(wishes)}"
    if dead_letters != 1:
        yield f"{dead_letters} messages were put aside instead of the one of nonsense"
    yield from _production(before[LAKESIDE], after[LAKESIDE])
    yield from _sandbox(before[LAKESIDE], after[SANDBOX])
    for site in HARBOR:
        yield from _as_before(site, before[site], after[site])


def _as_before(site: SiteId, before: SiteState, after: SiteState) -> Iterator[str]:
    if before.schema_version != after.schema_version or before.schema_digest != after.schema_digest:
        yield f"{site} has another structure than before its upgrade was put back"
    for table, digest in before.tables.items():
        if table not in _BESIDE and after.tables.get(table) != digest:
            yield f"{site} has other rows in {table} than before its upgrade was put back"


def _production(before: SiteState, after: SiteState) -> Iterator[str]:
    if before.record_digest != after.record_digest:
        yield "Lakeside's Production lost or changed records"
    for table, digest in before.tables.items():
        if table not in _OWN_TABLES and after.tables.get(table) != digest:
            yield f"Lakeside's Production changed in {table}"
    if after.schema_version != "26":
        yield f"Lakeside's Production has storage schema {after.schema_version} instead of 26"


def _sandbox(production: SiteState, sandbox: SiteState) -> Iterator[str]:
    if sandbox.records != production.records:
        yield f"Lakeside's Sandbox has {sandbox.records} records, its Production {production.records}"
    if production.canaries == 0:
        yield "Lakeside's Production holds no canaries, so nothing was proven about masking"
    if sandbox.canaries:
        yield f"Lakeside's Sandbox holds {sandbox.canaries} original personal values"
    if sandbox.record_digest == production.record_digest:
        yield "Lakeside's Sandbox holds Production's records unmasked"
    if sandbox.schema_version != "26":
        yield f"Lakeside's Sandbox has storage schema {sandbox.schema_version} instead of 26"
