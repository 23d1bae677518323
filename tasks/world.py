"""Everything a task needs to reach the world, opened once per process.

Invariant: the estate is what its file says at that moment, so a mended file counts at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from infra.clock import Clock, SystemClock
from infra.estate_now import estate_now
from infra.ledger.connection import Ledger
from infra.secrets import SecretFiles
from infra.settings import Settings, settings
from policy.estate import Estate


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """The settings of this process and what they lead to."""

    settings: Settings
    ledger: Ledger
    secrets: SecretFiles
    clock: Clock = field(default_factory=SystemClock)

    def estate(self) -> Estate:
        """The estate as its file declares it now.

        Raises:
            Refused: the file has mistakes; every one is a finding.
        """
        return estate_now(self.settings.estate)


def open_world(given: Settings | None = None) -> World:
    """The world that the settings describe; nothing is connected yet."""
    chosen = given or settings()
    return World(
        settings=chosen,
        ledger=Ledger(chosen.ledger, chosen.ledger_passfile),
        secrets=SecretFiles(chosen.secrets_dir),
    )
