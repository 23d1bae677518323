"""Places where a test may kill, freeze or fail a worker.

Invariant: without `FRESHET_FAILPOINT` in the environment a failpoint does nothing. The value is
`<point>=<action>`, several joined by commas; the action is `kill` (SIGKILL), `stop` (SIGSTOP), `raise`,
or `sleep:S`.
A point is `<flow>.<step>.<moment>`, for example `refresh.copy_masked.mid`; a put-back's is
`<flow>.<step>.undo.<moment>`. Where an act has several middles, the second is `…mid.2`, and so on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from enum import StrEnum

from policy.errors import StepFailed

VARIABLE = "FRESHET_FAILPOINT"


class Moment(StrEnum):
    """Where in a step a failpoint sits."""

    BEFORE_INTENT = "before-intent"
    AFTER_INTENT = "after-intent"
    MID = "mid"
    AFTER_ACT = "after-act"
    AFTER_OUTCOME = "after-outcome"


CLAIM, CONCLUDE = "claim", "conclude"
"""What stands before a run's first step and after its last; each has a middle, the conclusion an end."""


def points(flow: str, steps: Iterable[str]) -> Iterator[str]:
    """Every place where a worker of `flow` can die, in the order of a run that is put back at its end."""
    steps = list(steps)
    yield f"{flow}.{CLAIM}.{Moment.MID}"
    yield from (f"{flow}.{step}.{moment}" for step in steps for moment in Moment)
    yield from (f"{flow}.{step}.undo.{moment}" for step in reversed(steps) for moment in Moment)
    yield f"{flow}.{CONCLUDE}.{Moment.MID}"
    yield f"{flow}.{CONCLUDE}.{Moment.AFTER_OUTCOME}"


def failpoint(point: str) -> None:
    """Carry out the action that the environment names for `point`, if any.

    Raises:
        StepFailed: the action is `raise`.
        ValueError: the action is unknown.
    """
    for entry in os.environ.get(VARIABLE, "").split(","):
        name, _, action = entry.partition("=")
        if name != point:
            continue
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif action == "raise":
            raise StepFailed(f"failpoint {point}: failed on purpose")
        elif action.startswith("sleep:"):
            time.sleep(float(action.removeprefix("sleep:")))
        else:
            raise ValueError(f"{VARIABLE}: unknown action in '{entry}'")
