"""The long set test: updates and random faults, one after another, while people write, read and try doors.

Invariant: faults are drawn from a seed, so a bad round can be found again; what is counted as lost, mixed or
unmasked is counted from what visitors saw and from the databases, not from what a worker said.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from policy.errors import Refused
from policy.names import RequestId
from policy.request import Kind, Outcome
from tests.faults.conftest import start_worker
from tests.faults.declaration import NEW, OLD
from tests.faults.ground import LEASE, PRODUCTION, SANDBOX, Ground
from tests.faults.nursery import Nursery, Worker
from tests.faults.proxy import Proxy
from tests.faults.visitors import Visitors, unmasked_databases

GENERATION = """
UPDATE generation SET n = n + 1;
UPDATE people SET grade = (SELECT n FROM generation);
"""
FAULTS = (
    *("kill", "kill", "freeze", "term", "none"),
    *("cut ledger", "cut live", "cut trial", "bytes live", "bytes trial"),
)
ROUND_ENDS_S = 150.0


@dataclass
class SetTrial:
    """Rounds of one update each, on one ground.

    Attributes:
        wrong: everything that may not be, in words.
        counts: what was done: rounds by kind and outcome, faults by kind.
    """

    ground: Ground
    nursery: Nursery
    cuts: Mapping[str, Proxy]
    visitors: Visitors
    dice: random.Random
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _refreshed: RequestId | None = None
    _frozen: list[Worker] = field(default_factory=list)

    def rounds(self, seconds: float) -> None:
        """Go on for so long, and finish what was begun."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self._round()
        self._wake()

    def _round(self) -> None:
        kind = self.dice.choice([Kind.REFRESH] * 5 + [Kind.UPGRADE] * 3 + [Kind.UNDO] * 2)
        request = self._ask(kind)
        if request is None:
            return
        faults = [self.dice.choice(FAULTS) for _ in range(self.dice.choice([1, 1, 2]))]
        for fault in faults:
            if self.ground.request(request).outcome is None:
                self._under(request, fault)
        self._to_the_end(request)
        self._wake()
        ended = self.ground.request(request)
        self.counts[f"{kind.value} {ended.outcome}"] += 1
        self._judge(request, kind, ended.outcome, f"{request} {kind.value} under {faults}")

    def _ask(self, kind: Kind) -> RequestId | None:
        if kind is Kind.UPGRADE:
            self.ground.reset()
            return self.ground.ask(kind, PRODUCTION, version=NEW)
        if kind is Kind.UNDO:
            if self._refreshed is None:
                return None
            try:
                return self.ground.ask(kind, SANDBOX, undoes=self._refreshed)
            except Refused:
                # An upgrade changed the site after that refresh.
                return None
            finally:
                self._refreshed = None
        with self.ground.session(PRODUCTION) as session, session.transaction():
            session.execute(GENERATION)
        return self.ground.ask(kind, SANDBOX)

    def _under(self, request: RequestId, fault: str) -> None:
        self.counts[f"fault {fault}"] += 1
        worker = start_worker(self.nursery, self.ground, request, {"FRESHET_TEST_PATIENCE": "8"})
        worker.ended.wait(self.dice.uniform(0.05, 1.2))
        word, _, where = fault.partition(" ")
        if word == "cut":
            self.cuts[where].cut()
            time.sleep(self.dice.uniform(0.2, 3))
            self.cuts[where].mend()
        elif word == "bytes":
            self.cuts[where].cut_after(self.dice.randrange(1, 60_000))
        elif not worker.ended.is_set() and word in {"kill", "term", "freeze"}:
            self._signal(worker, word)
            if word == "freeze":
                self._frozen.append(worker)
                return
        worker.wait(ROUND_ENDS_S)

    def _signal(self, worker: Worker, word: str) -> None:
        number = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "freeze": signal.SIGSTOP}[word]
        try:
            worker.send(number)
        except ProcessLookupError:
            return

    def _to_the_end(self, request: RequestId) -> None:
        """As dispatch and sweep do: a worker comes, and another one when the lease has run out."""
        ends = time.monotonic() + ROUND_ENDS_S
        while self.ground.request(request).outcome is None:
            if time.monotonic() > ends:
                raise AssertionError(f"{request} was not brought to its end")
            worker = start_worker(self.nursery, self.ground, request, {})
            worker.wait(ROUND_ENDS_S)
            if self.ground.request(request).outcome is None:
                time.sleep(LEASE / 4)

    def _wake(self) -> None:
        """Those that were frozen go on, and may not do anything any more."""
        for worker in self._frozen:
            if not worker.ended.is_set():
                worker.send(signal.SIGCONT)
                worker.wait(ROUND_ENDS_S)
        self._frozen.clear()

    def _judge(self, request: RequestId, kind: Kind, outcome: Outcome | None, told: str) -> None:
        if outcome not in {Outcome.DONE, Outcome.PUT_BACK}:
            self.wrong.append(f"{told}: it ended {outcome}: {self.ground.request(request).reason}")
        if kind is Kind.REFRESH:
            self._refreshed = request if outcome is Outcome.DONE else None
        version = NEW if kind is Kind.UPGRADE and outcome is Outcome.DONE else None
        for site in (PRODUCTION, SANDBOX):
            serves, _ = self.ground.visit(site)
            if serves not in ({version} if version else {OLD, NEW}):
                self.wrong.append(f"{told}: {site} serves {serves}")
        self.lost += [f"{told}: {words}" for words in self._missing()]
        self.wrong += [f"{told}: unmasked people in {name}" for name in unmasked_databases(self.ground)]

    def _missing(self) -> list[str]:
        """Numbers that were acknowledged and are not there."""
        ours, theirs = self.visitors.production, self.visitors.sandbox
        # What was acknowledged before the look has to be in it.
        known = dict(ours.acknowledged)
        with self.ground.session(PRODUCTION) as session:
            there = {n for (n,) in session.execute("SELECT n FROM numbers").fetchall()}
        found = [f"Production lost {n}" for n in known.keys() - there]
        known_there = dict(theirs.acknowledged)
        with self.ground.session(SANDBOX) as session:
            row = session.execute("SELECT n FROM generation").fetchone()
            copied = {n for (n,) in session.execute("SELECT n FROM numbers").fetchall()}
        generation = int(row[0]) if row else 0
        of_this = {n for n, written in known_there.items() if written == generation}
        found += [f"the Sandbox lost {n} of generation {generation}" for n in of_this - copied]
        from_production = {n for n in copied if n > 0}
        newest = max(from_production, default=0)
        prefix = {n for n in known if n <= newest}
        found += [f"the Sandbox is no prefix of Production without {n}" for n in prefix - from_production]
        return found
