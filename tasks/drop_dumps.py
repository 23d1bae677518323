"""Drop snapshots that lie in files, once their run has ended and nobody needs them any more.

Invariant: the dump of a run that has not ended, or is stuck, is never touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta

from policy.names import RunId
from tasks.world import World

KEPT = timedelta(days=1)
"""As long as the snapshots that are databases."""


def drop_dumps(world: World, *, dry_run: bool) -> Iterator[str]:
    """Remove the dumps in the folders of runs that ended long enough ago.

    Args:
        world: the ledger and the settings.
        dry_run: only say what would be removed.

    Yields:
        A line for each run whose dumps are removed.
    """
    for folder in sorted(world.settings.run_dir.glob("*/snapshots")):
        name = folder.parent.name
        if RunId.pattern.fullmatch(name) is None:
            continue
        with world.ledger.transaction() as connection:
            row = connection.execute(
                "select 1 from run where id = %s and state = 'ended' and ended_at + %s <= %s",
                (name, KEPT, world.clock.now()),
            ).fetchone()
        if row is not None:
            if not dry_run:
                shutil.rmtree(folder)
            yield f"{'would remove' if dry_run else 'removed'} the dumps of {name}"
