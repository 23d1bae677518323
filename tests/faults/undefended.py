"""Takes one defence out of a worker, so that a test can show what it had prevented.

Invariant: without `FRESHET_TEST_WITHOUT` nothing is removed; each removal takes out one defence and no other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType

import infra.ledger.lease
import infra.ledger.runs
import infra.postgres.fences
import infra.postgres.incoming
import tasks.carry_out
import tasks.change_over
import tasks.check_may_start
from infra.ledger.connection import Connection
from policy.journal import EntryState
from policy.names import RunId
from tasks.step import Step

VARIABLE = "FRESHET_TEST_WITHOUT"
"""Environment variable: the defence to take out."""

FENCES = ("type_fence", "marker_fence", "identity_fence", "credential_fence", "sign_fence")


def _nothing(*_: object, **__: object) -> tuple[str, ...]:
    return ()


def _everywhere(original: object, by: object) -> None:
    """Also where it was imported by name."""
    name = getattr(original, "__name__", "")
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and getattr(module, name, None) is original:
            setattr(module, name, by)


def _fences(*, kept: str = "") -> None:
    for fence in FENCES:
        if fence != kept:
            setattr(infra.postgres.fences, fence, _nothing)
    # The guard in each session is made of three of them.
    _everywhere(infra.postgres.fences.guard, _nothing)


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
    setattr(infra.ledger.lease, "prove", _nothing)  # noqa: B010 - mypy knows that it is a function


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
    setattr(infra.ledger.runs, "outcome", now)  # noqa: B010 - its signature is wider than mypy likes


def _tries() -> None:
    tasks.carry_out.PAUSES = ()  # type: ignore[assignment]  # a constant, changed on purpose
    tasks.carry_out.PAUSES_BACK = ()  # type: ignore[assignment]  # a constant, changed on purpose


def _whole_restore() -> None:
    setattr(tasks.change_over, "_all_restorable", _nothing)  # noqa: B010 - mypy knows that it is a function


def _keeping() -> None:
    """A snapshot is dropped although a person would need it."""
    for module in list(sys.modules.values()):
        if module.__name__.startswith("tasks."):
            for step in vars(module).values():
                if isinstance(step, Step):
                    object.__setattr__(step, "drops", False)


def _closed_door() -> None:
    _everywhere(infra.postgres.incoming.close_to_others, _nothing)


def _rights() -> None:
    for name in ("authority_of", "check_start"):
        setattr(tasks.check_may_start, name, _nothing)


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
}


def remove_defence() -> None:
    """Take out what the environment names, if anything."""
    name = os.environ.get(VARIABLE)
    if name:
        REMOVALS[name]()
