"""Run the demonstration from an empty folder to the final table, and judge it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.ledger import installed, requests
from infra.queue import RequestQueue
from policy.errors import Unavailable
from policy.estate import Estate
from policy.names import RequestId, SiteId
from portal.demo.evidence import SiteState, states
from portal.demo.install import install_all
from portal.demo.people import load_people
from portal.demo.probe import downtime, outages
from portal.demo.verdict import judge
from portal.demo.watching import find_requests, follow
from portal.demo.wishes import DemoWish, send_all
from tasks.wake import wait_until_awake, wake
from tasks.world import World

TAKEN_IN_WITHIN_S = 60.0
DONE_WITHIN_S = 600.0
_SHOWN = (
    "id", "kind", "customer", "site", "version", "status", "outcome", "reason",
    "started", "ended", "downtime_s",
)  # fmt: skip


def run_demo(world: World, console: Console) -> list[str]:
    """Install, ask, watch, judge; the stack is up already.

    Args:
        world: the stack's settings, ledger and secrets.
        console: where progress and the table go.

    Returns:
        Promises that were not kept; an empty list is success.

    Raises:
        Unavailable: a part did not do its work in time.
    """
    began = time.monotonic()

    def tell(line: str) -> None:
        console.print(f"[{time.monotonic() - began:5.1f} s] {line}", markup=False)

    estate = world.estate()
    woken = wake(world)
    install_all(world, tell)
    tell(f"{load_people(world, estate)} records of people in Production, Sandbox and Staging")
    before, versions_before = states(world, estate), _versions(world)
    silent = wait_until_awake(world, patience_s=90)
    if silent:
        raise Unavailable(f"{', '.join(silent)} did not start; see {world.settings.state_dir / 'logs'}")
    tell(f"awake: {', '.join(woken) or 'all were'}")
    with _probe(world, estate) as lines:
        since = _last_request(world)
        queue = RequestQueue(world.settings)
        dead_before = queue.depth().dead
        tell(f"{send_all(queue)} messages sent to the queue")
        wishes = find_requests(world, patience_s=TAKEN_IN_WITHIN_S, since=since)
        ended = follow(world, list(wishes), patience_s=DONE_WITHIN_S, console=console)
        time.sleep(1)
        outage = outages(lines.read_text(encoding="utf-8").splitlines())
    after = states(world, estate)
    for request in ended:
        request["downtime_s"] = _downtime(estate, request, outage)
    findings = list(
        judge(
            wishes,
            ended,
            before,
            after,
            runs=_last_request(world) - since,
            dead_letters=queue.depth().dead - dead_before,
        )
    )
    result = _result(ended, before, after, versions_before, _versions(world), findings)
    folder = world.settings.state_dir / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result, indent=2, default=str), encoding="utf-8")
    _show(world, console, wishes, ended, folder / "result.json")
    return findings


@contextmanager
def _probe(world: World, estate: Estate) -> Iterator[Path]:
    """Watch every site from outside for as long as the block lasts."""
    path = (world.settings.state_dir / "demo" / "probe.jsonl").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    sites = [
        f"{site.id}={site.url}/v1/"
        for customer in estate.customers.values()
        for site in customer.sites.values()
    ]
    with path.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([sys.executable, "-m", "portal.demo.probe", *sites], stdout=output)
        try:
            yield path
        finally:
            process.terminate()
            process.wait(timeout=10)


def _downtime(
    estate: Estate, request: Mapping[str, Any], outage: Mapping[str, list[tuple[datetime, datetime]]]
) -> float:
    """The longest downtime among the sites that the request was about."""
    site = SiteId.parse(f"{request['customer']}/{request['site']}")
    sites = [site] if not request["version"] else [s.id for s in estate.served_by(estate.webapp(site))]
    since, until = (datetime.fromisoformat(request[key]) for key in ("started", "ended"))
    until = max(until, since).astimezone(UTC)
    return max(downtime(outage.get(str(each), []), since, until) for each in sites)


def _result(
    ended: list[dict[str, Any]],
    before: Mapping[SiteId, SiteState],
    after: Mapping[SiteId, SiteState],
    versions_before: Mapping[str, str],
    versions_after: Mapping[str, str],
    findings: list[str],
) -> dict[str, Any]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "findings": findings,
        "requests": [
            {key: request.get(key) for key in _SHOWN}
            | {
                "copied_bytes": sum(
                    int(step["facts"].get("bytes", 0))
                    for step in request["steps"]
                    if step["name"] == "copy_masked"
                ),
                "steps": [
                    {key: step[key] for key in ("name", "state", "seconds", "undo_seconds")}
                    for step in request["steps"]
                ],
            }
            for request in ended
        ],
        "versions": {"before": versions_before, "after": versions_after},
        "storage_schema_version": {
            "before": {str(site): state.schema_version for site, state in before.items()},
            "after": {str(site): state.schema_version for site, state in after.items()},
        },
        "records": {str(site): state.records for site, state in after.items()},
        "canaries": {str(site): state.canaries for site, state in after.items()},
    }


def _show(
    world: World,
    console: Console,
    wishes: Mapping[RequestId, DemoWish],
    ended: list[dict[str, Any]],
    result: Path,
) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("request", "what", "status", "took", "downtime"):
        table.add_column(column)
    for request in ended:
        outcome = request["outcome"].replace("_", " ")
        took = datetime.fromisoformat(request["ended"]) - datetime.fromisoformat(request["started"])
        table.add_row(
            request["id"],
            wishes[RequestId(request["id"])].title,
            request["status"] + ("" if outcome == "done" else f" ({outcome})"),
            f"{took.total_seconds():.0f} s",
            f"{request['downtime_s']:.1f} s",
        )
    console.print()
    console.print(table)
    console.print()
    where = world.settings.prefect_api.removesuffix("/api")
    console.print(f"Prefect: {where}   reports: freshet report R1   figures: {result}", markup=False)


def _versions(world: World) -> dict[str, str]:
    with world.ledger.transaction() as connection:
        return {key: str(version) for key, version in installed.versions(connection).items()}


def _last_request(world: World) -> int:
    with world.ledger.transaction() as connection:
        return max((request.id.number for request in requests.find(connection)), default=0)
