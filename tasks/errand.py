"""Work outside of a run: looking at what a run would meet, and cleaning up what one has left.

Invariant: an errand has a number of its own, so that what it makes aside is never another's; it holds no
lease, so only what disturbs nobody may be done on one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.clock import Clock
from infra.secrets import SecretFiles
from infra.settings import Settings
from policy.estate import Estate
from policy.names import RunId
from policy.request import Request
from tasks.world import World

FOLDER = "-errand"
"""What the name of an errand's folder ends with."""


@dataclass(kw_only=True)
class Errand:
    """What a step is given (`tasks.step.Work`), without a journal and without a lease."""

    run: RunId
    request: Request
    estate: Estate
    settings: Settings
    secrets: SecretFiles
    clock: Clock
    scratch: Path
    told: Callable[[str], None]
    epoch: int = 1

    def prove(self) -> None:
        """Nobody else can have taken it over."""

    def say(self, text: str, *, done: float | None = None, total: float | None = None) -> None:  # noqa: ARG002 - nobody draws its progress
        """Tell whoever asked for it."""
        self.told(text)

    def fact(self, step: str, key: str) -> object:  # noqa: ARG002 - there is no journal
        """Nothing was recorded."""
        return None

    def mid(self) -> None:
        """It is not killed on purpose: there is nothing to take back."""


@contextmanager
def errand(world: World, request: Request, run: RunId, told: Callable[[str], None]) -> Iterator[Errand]:
    """An errand about `request`, with a folder that holds its evidence and is kept when it fails."""
    scratch = (world.settings.run_dir / f"{run}{FOLDER}").resolve()
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    yield Errand(
        run=run,
        request=request,
        estate=world.estate(),
        settings=world.settings,
        secrets=world.secrets,
        clock=world.clock,
        scratch=scratch,
        told=told,
    )
    # What failed is looked at; what went well is of no use to anybody.
    shutil.rmtree(scratch)
