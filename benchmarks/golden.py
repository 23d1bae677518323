"""A refresh from a golden image through the real stack: from the message in the queue to Completed.

Prefect's server and worker, the queue's endpoint, real Kinto behind its door, real PostgreSQL: everything
that `freshet up` starts. Production is filled to BENCH_GOLDEN_GB (default 2) first.

Environment: BENCH_REFLINK, a folder on a file system that shares blocks (default: the temporary folder);
BENCH_GOLDEN_ROUNDS (default 7).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from infra.ledger import requests, runs
from infra.postgres.session import connect
from infra.queue import RequestQueue
from infra.settings import Settings
from infra.stack.cloning import can_clone
from infra.stack.ports import SITES, is_free
from infra.stack.stack import Stack
from policy.errors import Unavailable
from policy.journal import Entry
from policy.names import CustomerName, RequestId, SiteId
from policy.request import Outcome, Request
from portal.demo.install import install_all
from portal.demo.people import load_people
from tasks.golden_build import Built, build_images
from tasks.wake import wait_until_awake, wake
from tasks.world import World, open_world

GIGABYTES = float(os.environ.get("BENCH_GOLDEN_GB", "2"))
ROUNDS = int(os.environ.get("BENCH_GOLDEN_ROUNDS", "7"))
PATIENCE_S = 120.0
SANDBOX = SiteId.parse("lakeside/sandbox")
CONTACT = "dana.brooks@lakeside.example.org"
WEB = ("hold_requests", "reopen", "check_health")
"""The web application's part: its door is closed and opened by a playbook, then it is asked how it is."""

_ROW_BYTES = 1500
_GROW = """
INSERT INTO objects (id, parent_id, resource_name, last_modified, deleted, data)
SELECT gen_random_uuid()::text, '/buckets/district/collections/students', 'record',
       timestamp '2020-01-01' + n * interval '1 millisecond', false,
       jsonb_build_object('given_name', 'Given' || n, 'family_name', 'Family' || n %% 10000,
         'email', 'person' || n || '@families.example.net', 'phone', '+1312777' || n %% 9000 + 1000,
         'city', 'Lake City', 'grade', n %% 13, 'enrolled', true,
         'homeroom', (SELECT string_agg(md5(n::text || k), '') FROM generate_series(1, 30) AS k))
  FROM generate_series(1, %(rows)s) AS n
"""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One request, as the ledger tells it.

    Attributes:
        queued_s: from the message to Completed.
        taken_in_s: from the message to the request.
        waited_s: from the request to the claim: planning, Prefect's worker, the start of a process.
        run_s: from the claim to Completed.
        steps: seconds of each step.
    """

    queued_s: float
    taken_in_s: float
    waited_s: float
    run_s: float
    steps: dict[str, float]
    method: str
    how: str


def figures() -> dict[str, object]:
    """Measure on a stack of its own."""
    return measure(Path(os.environ.get("BENCH_REFLINK", tempfile.gettempdir())), rounds=ROUNDS)


def measure(place: Path, *, rounds: int) -> dict[str, object]:
    """Measure so many refreshes on a stack of its own below `place`."""
    folder = Path(tempfile.mkdtemp(prefix="freshet-bench-stack-", dir=place))
    shares = can_clone(folder)
    try:
        with _stack(folder) as world:
            size = _fill(world)
            began = time.monotonic()
            built = build_images(world, CustomerName("lakeside"), _tell)
            took = time.monotonic() - began
            done = [_round(world) for _ in range(rounds)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _figures(done, built, took, size, shares=shares)


def _figures(
    rounds: list[Round], built: list[Built], took: float, size: int, *, shares: bool
) -> dict[str, object]:
    def median(values: Iterator[float]) -> float:
        return round(statistics.median(values), 2)

    web = median(sum(each.steps[name] for name in WEB) for each in rounds)
    how = rounds[-1].how
    notes = {
        "golden_run_s": (
            f"from the claim to Completed through the real stack, Production of {size / 1e9:.2f} GB; of it "
            "golden_web_s are the web application's own door and health check; "
            f"the file system {'shares blocks' if shares else 'copies files'}: {how}"
        )
    }
    return {
        "golden_run_s": median(each.run_s for each in rounds),
        "golden_run_max_s": round(max(each.run_s for each in rounds), 2),
        "golden_web_s": web,
        "golden_run_without_web_s": median(
            each.run_s - sum(each.steps[name] for name in WEB) for each in rounds
        ),
        "golden_queue_to_completed_s": median(each.queued_s for each in rounds),
        "golden_queue_to_completed_max_s": round(max(each.queued_s for each in rounds), 2),
        "golden_steps_s": {name: median(each.steps[name] for each in rounds) for name in rounds[0].steps},
        "golden_build_s": round(took, 1),
        "golden_images": len(built),
        "golden_database_gb": round(size / 1e9, 2),
        "golden_rounds": len(rounds),
        "golden_methods": sorted({each.method for each in rounds}),
        "golden_taken_in_s": median(each.taken_in_s for each in rounds),
        "golden_waited_s": median(each.waited_s for each in rounds),
        "notes": notes,
    }


@contextmanager
def _stack(folder: Path) -> Iterator[World]:
    """Everything that `freshet up` starts, with the demo's estate and web applications."""
    state = folder / "state"
    os.environ["FRESHET_STATE_DIR"] = str(state)
    try:
        Stack.wanted(state=state, port_base=_free_base(), tell=_tell).up()
        world = open_world(Settings(_env_file=state / "settings.env"))
        wake(world)
        install_all(world, _tell)
        load_people(world, world.estate())
        silent = wait_until_awake(world, patience_s=120)
        if silent:
            raise Unavailable(f"{', '.join(silent)} did not start; see {state / 'logs'}")
        yield world
    finally:
        Stack.existing(state=state, tell=_tell).down()
        del os.environ["FRESHET_STATE_DIR"]


def _fill(world: World) -> int:
    """Bring Production to its size; its bytes."""
    estate = world.estate()
    site = estate.source(SANDBOX.customer).site
    server = estate.servers[site.server]
    rows = int(GIGABYTES * 1e9 / _ROW_BYTES)
    with connect(server, site.database, server.owner, world.secrets, run="bench", autocommit=True) as session:
        session.execute("ALTER TABLE objects DISABLE TRIGGER USER")
        session.execute(_GROW, {"rows": rows})
        session.execute("ALTER TABLE objects ENABLE TRIGGER USER")
        session.execute("VACUUM (FREEZE, ANALYZE)")
        row = session.execute("SELECT pg_database_size(current_database())").fetchone()
    size = int(row[0]) if row else 0
    _tell(f"Production holds {size / 1e9:.2f} GB")
    return size


def _round(world: World) -> Round:
    known = _newest(world)
    sent = datetime.now(UTC)
    RequestQueue(world.settings).send(
        json.dumps(
            {
                "schema": "freshet.request/v1",
                "message_id": str(uuid4()),
                "customer": SANDBOX.customer,
                "site": SANDBOX.environment.value,
                "version": None,
                "refresh": True,
                "as": CONTACT,
                "note": "measured",
            }
        )
    )
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        time.sleep(0.1)
        newest = _newest(world)
        if newest == known:
            continue
        with world.ledger.transaction() as connection:
            request = requests.get(connection, RequestId.of(newest))
            run = runs.last(connection, request.id)
            steps = () if run is None else runs.journal(connection, run.id)
        if request.outcome is not None:
            return _judged(request, run, steps, sent)
    raise Unavailable(f"the request did not end within {PATIENCE_S:.0f} s")


def _judged(request: Request, run: runs.Run | None, steps: tuple[Entry, ...], sent: datetime) -> Round:
    if request.outcome is not Outcome.DONE or run is None or run.ended_at is None:
        raise Unavailable(f"{request.id} ended {request.status}: {request.reason}")
    copied = next(step.facts for step in steps if step.step == "copy_masked")
    notes = copied["notes"]
    found = Round(
        queued_s=(run.ended_at - sent).total_seconds(),
        taken_in_s=(request.asked_at - sent).total_seconds(),
        waited_s=(run.started_at - request.asked_at).total_seconds(),
        run_s=(run.ended_at - run.started_at).total_seconds(),
        steps={step.step: round(step.seconds or 0.0, 3) for step in steps},
        method=str(copied["method"]),
        how=str(notes[0]) if isinstance(notes, list) and notes else "",
    )
    times = f"{found.queued_s:.1f} s = {found.taken_in_s:.1f} + {found.waited_s:.1f} + {found.run_s:.1f} s"
    checks = next(step.facts for step in steps if step.step == "check_health")
    _tell(f"{request.id}: {times} {found.steps} {found.how} {dict(checks)}")
    return found


def _newest(world: World) -> int:
    with world.ledger.transaction() as connection:
        return max((each.id.number for each in requests.find(connection)), default=0)


def _free_base() -> int:
    """A port from which on everything is free that a stack needs."""
    while True:
        base = random.randrange(20_000, 31_000, 100)  # noqa: S311 - not a secret
        if all(is_free(port) for port in range(base, base + 20 + SITES)):
            return base


def _tell(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
