"""What the simulated hosting company writes down about one request and one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from policy.lifecycle import BORN, State
from policy.names import RequestId, Version
from policy.waiting import Running, Waiting


@dataclass(kw_only=True)
class Book:
    """One request, as the books have it."""

    waiting: Waiting
    version: Version | None
    state: State = BORN
    attempts: int = 0
    begun: list[datetime] = field(default_factory=list)
    completed: int = 0
    started_by: datetime | None = None
    first_eta: tuple[datetime, datetime] | None = None
    promised: datetime | None = None
    superseded_by: RequestId | None = None


@dataclass(frozen=True, kw_only=True)
class Work:
    """A run under way, with what really becomes of it.

    Attributes:
        took: how long the work takes; with `back` when it fails then and is put back.
    """

    running: Running
    request: RequestId
    began: datetime
    took: timedelta
    back: timedelta

    @property
    def ends(self) -> datetime:
        """When it is over."""
        return self.began + self.took + self.back
