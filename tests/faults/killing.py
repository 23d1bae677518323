"""Kills a worker, lets the next one come, and says everything that is not as it must be.

Invariant: what it finds is read from the databases, the host and the ledger, never from what a worker said.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Self

from infra.clock import SetClock
from policy.names import RequestId, SiteId
from policy.request import Kind, Outcome
from tasks.tidy import tidy
from tasks.world import World
from tests.faults.conftest import start_worker
from tests.faults.declaration import NEW
from tests.faults.ground import PRODUCTION, SANDBOX, STAGING, Ground
from tests.faults.matrix import Case
from tests.faults.nursery import Nursery, Worker

SITES = {Kind.REFRESH: STAGING, Kind.UPGRADE: PRODUCTION, Kind.UNDO: STAGING}


class Trial:
    """One request on a ground, from its asking to the judgement.

    Args:
        ground: where.
        nursery: forks the workers.
        kind: of the request.
    """

    def __init__(self, ground: Ground, nursery: Nursery, kind: Kind) -> None:
        self.ground, self.nursery, self.kind = ground, nursery, kind
        self.told: list[str] = []
        self.older = ground.visit(STAGING)
        self.refreshed: RequestId | None = None
        if kind is Kind.UNDO:
            self.refreshed = self._refresh()
        elif kind is Kind.REFRESH:
            ground.new_generation()
        else:
            ground.reset()
        self.before = {site: ground.visit(site) for site in ground.databases}
        self.production = dict(ground.production_digests())
        site = SITES[kind]
        version = NEW if kind is Kind.UPGRADE else None
        self.request = ground.ask(kind, site, version=version, undoes=self.refreshed)

    @classmethod
    def up_to(cls, point: str, ground: Ground, nursery: Nursery) -> Self:
        """A request of the kind whose run comes to `point`."""
        return cls(ground, nursery, Kind(point.partition(".")[0]))

    def _refresh(self) -> RequestId:
        """A finished refresh; the one that the last undo did not take back is as good as new."""
        self.ground.new_generation()
        number = self.ground.ask(Kind.REFRESH, STAGING)
        assert self.work(number) == 0
        assert self.ground.request(number).outcome is Outcome.DONE
        return number

    def work(self, request: RequestId | None = None, failpoint: str = "", trace: Path | None = None) -> int:
        """Let a worker carry out the request and return how it ended."""
        env = {"FRESHET_FAILPOINT": failpoint, "FRESHET_TEST_TRACE": str(trace or "")}
        worker = start_worker(self.nursery, self.ground, request or self.request, env)
        code = worker.wait()
        if worker.out.exists():
            self.told.append(str(worker.told.get("message")))
        return code

    def resume(self) -> None:
        """Let workers come until the request has ended, as dispatch does.

        One that was frozen in the middle of a ledger transaction holds its lock until the server ends it.
        """
        for _ in range(5):
            assert self.work() == 0
            if self.ground.request(self.request).outcome is not None:
                return
        raise AssertionError(f"it was not brought to its end: {self.told}")

    def hand_over(self) -> None:
        """The worker is dead, or gave up: its lease ends, and others bring the request to its end."""
        self.ground.let_lease_end()
        self.resume()

    def check(self, worker: Worker, told: str, outcome: Outcome) -> None:
        """`worker` ends as `told`, and everything is as it must be after `outcome`."""
        assert worker.wait() == 0, worker.log
        assert worker.told["name"] == told, worker.log
        wrong = self.judge(outcome)
        assert wrong == [], wrong

    @property
    def expected(self) -> Mapping[SiteId, tuple[str, int]]:
        """What visitors meet when the request is done."""
        if self.kind is Kind.UPGRADE:
            return {**self.before, **{site: (NEW, self.before[site][1]) for site in (PRODUCTION, SANDBOX)}}
        generation = self.older[1] if self.kind is Kind.UNDO else self.before[PRODUCTION][1]
        return {**self.before, STAGING: (NEW, generation)}

    def judge(self, outcome: Outcome, *, runs: int = 1) -> list[str]:
        """Everything that is wrong, given how the request must have ended."""
        return [
            *self._ledger(outcome, runs),
            *self._sites(outcome),
            *self._backends(),
            *self._databases(),
        ]

    def _ledger(self, outcome: Outcome, runs: int) -> Iterator[str]:
        request = self.ground.request(self.request)
        if request.outcome is not outcome:
            yield f"it ended {request.outcome} instead of {outcome}: {request.reason}; told: {self.told}"
        with self.ground.world.ledger.transaction() as connection:
            events = connection.execute(
                "select verb from event where request = %s and outcome is not null",
                (self.request.number,),
            ).fetchall()
            told = connection.execute(
                "select count(*) as n from outbox where request = %s and channel = 'status'"
                " and payload ->> 'outcome' is not null",
                (self.request.number,),
            ).fetchone()
            ended = connection.execute(
                "select count(*) as n, count(report) as reports,"
                " count(*) filter (where state <> 'ended') as live from run where request = %s",
                (self.request.number,),
            ).fetchone()
            held = connection.execute(
                "select (select count(*) from lease where run is not null)"
                " + (select count(*) from run_database where live) as n"
            ).fetchone()
        if len(events) != 1:
            yield f"{len(events)} concluding events: {[event['verb'] for event in events]}"
        if told != {"n": 1}:
            yield f"it was told {told} times how it ended"
        if ended != {"n": runs, "reports": runs, "live": 0}:
            yield f"its runs: {ended}"
        if held != {"n": 0}:
            yield f"leases or databases are still held: {held}"

    def _sites(self, outcome: Outcome) -> Iterator[str]:
        done = outcome is Outcome.DONE
        for site, before in self.before.items():
            now = self.ground.visit(site)
            wanted = self.expected[site] if done else before
            if now != wanted:
                yield f"{site}: {now} instead of {wanted}"
        production = dict(self.ground.production_digests())
        if self.kind is Kind.UPGRADE and done:
            production = {name: digest for name, digest in production.items() if name in self.production}
            changed = {name.table for name in production if production[name] != self.production[name]}
            if changed != {"schema_version"}:
                yield f"Production's tables {sorted(changed)} were changed by the upgrade"
        elif production != self.production:
            yield "Production was changed"

    def _backends(self) -> Iterator[str]:
        ends = time.monotonic() + 3
        while True:
            left = []
            for cluster in (self.ground.live, self.ground.trial):
                with self.ground.admin(cluster) as session:
                    left += session.execute(
                        "SELECT application_name, query FROM pg_stat_activity"
                        " WHERE application_name LIKE 'freshet-r%%' AND usename LIKE %s",
                        [f"%\\_{self.ground.word}"],
                    ).fetchall()
            if not left:
                return
            if time.monotonic() > ends:
                yield f"backends are left: {left}"
                return
            time.sleep(0.05)

    def _databases(self) -> Iterator[str]:
        """Whatever a run leaves is tagged, and the sweep drops it when its time is over."""
        later = self.ground.world.clock.now() + timedelta(days=30)
        world = World(
            settings=self.ground.settings,
            ledger=self.ground.world.ledger,
            secrets=self.ground.world.secrets,
            clock=SetClock(later),
        )
        said = list(tidy(world, dry_run=False))
        with self.ground.admin(self.ground.trial) as session:
            names = session.execute(
                "SELECT datname::text FROM pg_database WHERE datname LIKE %s",
                [f"%\\_{self.ground.word}\\_\\_%"],
            ).fetchall()
        for (name,) in names:
            yield f"database {name} is left; the sweep said {said}"


def kill(ground: Ground, nursery: Nursery, case: Case) -> list[str]:
    """Kill a worker at `case`, let a second one come, and tell what is wrong."""
    trial = Trial(ground, nursery, case.kind)
    code = trial.work(failpoint=case.failpoint)
    wrong = [] if code == -9 else [f"the first worker was not killed but ended with {code}"]
    ground.let_lease_end()
    code = trial.work()
    if code != 0:
        wrong.append(f"the second worker ended with {code}")
    outcome = Outcome.PUT_BACK if case.fails else Outcome.DONE
    return wrong + trial.judge(outcome)
