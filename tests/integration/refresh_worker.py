"""A worker of a test, which holds its run for as long as the test wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from infra.clock import Clock
from infra.secrets import SecretFiles
from infra.settings import Settings
from policy.estate import Estate
from policy.names import RunId
from policy.request import Request


@dataclass
class Worker:
    """`tasks.step.Work` for a test: it holds its run for as long as `held` is true."""

    run: RunId
    request: Request
    estate: Estate
    settings: Settings
    secrets: SecretFiles
    clock: Clock
    scratch: Path
    epoch: int = 1
    held: bool = True
    proofs: int = 0
    said: list[str] = field(default_factory=list)

    def prove(self) -> None:
        """Count, so that a test can see that a mutation was preceded by a proof."""
        self.proofs += 1

    def say(self, text: str, *, done: float | None = None, total: float | None = None) -> None:  # noqa: ARG002 - nobody draws its progress
        """Remember."""
        self.said.append(text)

    def fact(self, step: str, key: str) -> object:  # noqa: ARG002 - there is no journal
        """Nothing is remembered from earlier steps: each must find what exists by looking."""
        return None

    def mid(self) -> None:
        """No failpoint."""
