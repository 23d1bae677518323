"""Takes one defence out of a worker, so that a test can show what it had prevented.

Invariant: without `FRESHET_TEST_WITHOUT` nothing is removed; each removal takes out one defence and no other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial

import infra.ledger.lease
import infra.ledger.outbox
import infra.ledger.runs
import infra.postgres.fences
import infra.postgres.incoming
import tasks.carry_out
import tasks.check_may_start
import tasks.hold
from infra.delivery import deliver, open_transports
from infra.ledger.connection import Connection
from infra.ledger.outbox import OutboxEntry
from policy.errors import StepFailed
from policy.journal import EntryState
from policy.names import RequestId, RunId
from tasks.display import Display
from tasks.hold import Hold
from tasks.snapshots import Kept
from tasks.step import Step
from tasks.world import open_world
from tests.faults.undefended_sites import AT_SITES, everywhere, put

VARIABLE = "FRESHET_TEST_WITHOUT"
"""Environment variable: the defence to take out."""

FENCES = ("type_fence", "marker_fence", "identity_fence", "credential_fence", "sign_fence")


def _nothing(*_: object, **__: object) -> tuple[str, ...]:
    return ()


def _fences(*, kept: str = "") -> None:
    for fence in FENCES:
        if fence != kept:
            put(infra.postgres.fences, fence, _nothing)
    # The guard in each session is made of three of them.
    everywhere(infra.postgres.fences.guard, _nothing)


def _lease() -> None:
    """Whoever comes gets it."""

    def take(connection: Connection, *, webapp: str, run: RunId, holder: str, lease_seconds: int) -> int:
        connection.execute("update lease set run = null where webapp = %s", (webapp,))
        return original(connection, webapp=webapp, run=run, holder=holder, lease_seconds=lease_seconds)

    original = infra.ledger.lease.take
    infra.ledger.lease.take = take
    _epoch()


def _epoch() -> None:
    """Nobody asks whether the epoch is still the newest."""
    put(infra.ledger.lease, "prove", _nothing)


def _intent() -> None:
    """The journal learns of a step only when it is over."""
    intend, outcome = infra.ledger.runs.intend, infra.ledger.runs.outcome
    kept: dict[str, tuple[Connection, RunId, str, int, int]] = {}

    def later(connection: Connection, run: RunId, step: str, position: int, epoch: int) -> None:
        kept[step] = (connection, run, step, position, epoch)

    def now(
        connection: Connection, run: RunId, step: str, *, state: EntryState, epoch: int, **more: object
    ) -> None:
        if step in kept:
            _, _, _, position, _ = kept.pop(step)
            intend(connection, run, step, position, epoch)
        outcome(connection, run, step, state=state, epoch=epoch, **more)  # type: ignore[arg-type]  # what it was called with, passed on

    infra.ledger.runs.intend = later
    put(infra.ledger.runs, "outcome", now)


def _tries() -> None:
    tasks.carry_out.PAUSES = ()  # type: ignore[assignment]  # a constant, changed on purpose
    tasks.carry_out.PAUSES_BACK = ()  # type: ignore[assignment]  # a constant, changed on purpose


def _whole_restore() -> None:
    """Nobody asks whether all that has to be put back is still there."""

    def never(_kept: Kept) -> str:
        return ""

    put(Kept, "gone", never)


def _keeping() -> None:
    """A snapshot is dropped although a person would need it."""
    for module in list(sys.modules.values()):
        if module.__name__.startswith("tasks."):
            for step in vars(module).values():
                if isinstance(step, Step):
                    object.__setattr__(step, "drops", False)


def _closed_door() -> None:
    everywhere(infra.postgres.incoming.close_to_others, _nothing)


def _rights() -> None:
    for name in ("authority_of", "check_start"):
        put(tasks.check_may_start, name, _nothing)


def _cancel() -> None:
    """A cancel is no error, so nothing is put back for it."""
    original = tasks.carry_out._turn_back

    def only_errors(hold: Hold, step: Step, error: BaseException, display: Display) -> None:
        if not isinstance(error, Exception):
            raise error
        original(hold, step, error, display)

    tasks.carry_out._turn_back = only_errors


def _second_signal() -> None:
    """Whatever goes on when a signal comes is taken for failed."""
    original = tasks.carry_out._told

    def failing(attempt: Callable[[], object]) -> object:
        try:
            return original(attempt)
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            raise StepFailed("the run was cancelled") from error

    put(tasks.carry_out, "_told", failing)


def _ledger_patience() -> None:
    tasks.hold.LEDGER_PATIENCE = 0.0


def _outbox() -> None:
    """A mail is sent where it is written: in the middle of the change that it tells."""
    keep = infra.ledger.outbox.put

    def at_once(
        connection: Connection,
        *,
        channel: str,
        key: str,
        request: RequestId | None,
        payload: Mapping[str, object],
    ) -> None:
        if channel == "mail":
            world = open_world()
            entry = OutboxEntry(
                id=0, channel=channel, key=key, payload=payload, attempts=1, created_at=world.clock.now()
            )
            deliver(entry, open_transports(world.settings, world.secrets))
        keep(connection, channel=channel, key=key, request=request, payload=payload)

    infra.ledger.outbox.put = at_once


REMOVALS: Mapping[str, Callable[[], None]] = {
    "fences": _fences,
    **{f"fences but {fence}": partial(_fences, kept=fence) for fence in FENCES},
    "lease": _lease,
    "epoch": _epoch,
    "intent": _intent,
    "tries": _tries,
    "whole restore": _whole_restore,
    "keeping": _keeping,
    "closed door": _closed_door,
    "rights": _rights,
    "cancel": _cancel,
    "second signal": _second_signal,
    "ledger patience": _ledger_patience,
    "outbox": _outbox,
    **AT_SITES,
}


def remove_defence() -> None:
    """Take out what the environment names, if anything."""
    name = os.environ.get(VARIABLE)
    if name:
        REMOVALS[name]()
