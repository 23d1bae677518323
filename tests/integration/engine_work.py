"""A worker that changes a server's version without a ledger: the journal is in memory, all else is real."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from infra.clock import Clock, SystemClock
from infra.failpoints import Moment, failpoint
from infra.secrets import SecretFiles
from infra.settings import Settings
from policy.errors import FreshetError
from policy.estate import Estate
from policy.journal import Direction, Do, Entry, EntryState, Finish, Undo, next_move
from policy.names import CustomerName, EmailAddress, Environment, RunId, SiteId
from policy.request import Kind, Request, Status
from tasks.step import Step
from tests.asked import asked_for

RUN = RunId("r7a1")
SITE = SiteId(CustomerName("lakeside"), Environment.PRODUCTION)


def _request() -> Request:
    now = datetime.now(UTC)
    return asked_for(
        "R7",
        SITE,
        at=now,
        kind=Kind.ENGINE,
        refresh=False,
        asked_by=EmailAddress("engineer@hosting.example.org"),
        scheduled_for=now,
        status=Status.IN_PROGRESS,
        attempt=1,
    )


@dataclass(kw_only=True)
class EngineWork:
    """What the steps are given; the journal is in memory, everything else is real."""

    estate: Estate
    settings: Settings
    secrets: SecretFiles
    scratch: Path
    run: RunId = RUN
    epoch: int = 1
    request: Request = field(default_factory=_request)
    clock: Clock = field(default_factory=SystemClock)
    journal: dict[str, Entry] = field(default_factory=dict)
    direction: Direction = Direction.FORWARD
    said: list[str] = field(default_factory=list)
    proofs: int = 0
    errors: list[Exception] = field(default_factory=list)
    at: str = ""
    meanwhile: Callable[[str], None] = lambda _text: None

    def prove(self) -> None:
        self.proofs += 1

    def say(self, text: str, *, done: float | None = None, total: float | None = None) -> None:  # noqa: ARG002 - nobody draws its progress
        self.said.append(text)
        self.meanwhile(text)

    def fact(self, step: str, key: str) -> object:
        entry = self.journal.get(step)
        return None if entry is None else entry.facts.get(key)

    def mid(self) -> None:
        failpoint(f"engine.{self.at}.{Moment.MID}")

    def carry_out(self, steps: Sequence[Step]) -> Finish:
        """Follow the journal to its end, as a worker does."""
        by_name = {step.name: step for step in steps}
        while True:
            move = next_move(list(by_name), list(self.journal.values()), self.direction)
            if isinstance(move, Finish):
                return move
            step = by_name[move.step]
            if isinstance(move, Do):
                self._forward(step, look_first=move.look_first)
            elif isinstance(move, Undo):
                try:
                    step.undo(self)
                    self._note(step.name, EntryState.UNDONE)
                except FreshetError as error:
                    self.errors.append(error)
                    self._note(step.name, EntryState.UNDO_FAILED)

    def _forward(self, step: Step, *, look_first: bool) -> None:
        self._note(step.name, EntryState.INTENDED)
        self.at = step.name
        try:
            if look_first and step.done(self):
                facts: Mapping[str, object] = {"found_done": True}
            else:
                facts = step.do(self)
        except FreshetError as error:
            self.errors.append(error)
            self.direction = Direction.BACK
            return
        # The ledger holds JSON, so a fact must survive it.
        self._note(step.name, EntryState.DONE, json.loads(json.dumps(dict(facts))))

    def _note(self, step: str, state: EntryState, facts: Mapping[str, object] | None = None) -> None:
        before = self.journal.get(step)
        kept = {} if before is None else before.facts
        self.journal[step] = Entry(step=step, state=state, facts=kept if facts is None else facts)
