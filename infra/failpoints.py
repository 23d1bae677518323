"""Places where a test may kill, freeze or fail a worker.

Invariant: without `FRESHET_FAILPOINT` in the environment a failpoint does nothing. The value is
`<point>=<action>`, several joined by commas; the action is `kill` (SIGKILL), `stop` (SIGSTOP), `raise`,
or `sleep:S`.
A point is `<flow>.<step>.<moment>`, for example `refresh.copy.mid`.
"""

from __future__ import annotations

import os
import signal
import time
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
