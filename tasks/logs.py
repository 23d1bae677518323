"""Keep secrets out of every log that this process writes, Prefect's included.

Invariant: it is called before the first secret is read.
"""

from __future__ import annotations

import logging

from infra.redaction import protect_logs
from tasks.world import World


def quiet_logs(world: World) -> None:
    """Install the redacting filter, and let the run's own lines through to Prefect."""
    protect_logs(world.secrets)
    logging.getLogger("freshet").setLevel(logging.INFO)
