"""A step of a run: it looks (`done`), acts (`do`) and takes back (`undo`).

Invariant: a step finds what exists by looking, never by remembering: each function may be called by another
worker than the one that called the last, at any time, and again. `undo` of a step that did nothing does
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.clock import Clock
from infra.secrets import SecretFiles
from infra.settings import Settings
from policy.estate import Estate
from policy.names import RunId
from policy.request import Request


class Work(Protocol):
    """What a step is given: the run, the estate, and the ways to speak and to prove its right to act."""

    run: RunId
    epoch: int
    request: Request
    estate: Estate
    settings: Settings
    secrets: SecretFiles
    clock: Clock
    scratch: Path
    """A folder of this run, mode 700, kept until it has ended; evidence goes into `scratch / "evidence"`."""

    def prove(self) -> None:
        """Prove in the ledger that this worker still holds the run; before every mutation.

        Raises:
            Busy: another worker took the run over; touch nothing.
            Unavailable: the ledger does not answer; begin nothing new.
        """
        ...

    def say(self, text: str, *, done: float | None = None, total: float | None = None) -> None:
        """Tell whoever watches what is going on; with `done` of `total` it shows as progress."""
        ...

    def fact(self, step: str, key: str) -> object:
        """What the journal recorded under `key` when `step` was done, or None. A hint, never the truth."""
        ...

    def mid(self) -> None:
        """The failpoint in the middle of the present step's act; call it where a crash would hurt most."""
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """One entry in a run's journal.

    Attributes:
        name: stable key in the journal, in failpoints and in durations.
        title: what an engineer reads, for example "Copy with masking".
        done: looks whether the act's result is already there.
        do: acts; returns facts for the journal and the report (JSON values, never a secret).
        undo: takes the act back, also when it was half done.
        drops: the undo destroys what a person would need when a later step could not be put back; then it is
            not called, and what it would drop is kept.
    """

    name: str
    title: str
    done: Callable[[Work], bool]
    do: Callable[[Work], Mapping[str, object]]
    undo: Callable[[Work], None]
    drops: bool = False
