"""The order of a change of version, with room for what takes the application offline and back.

Invariant: nothing that may fail comes after the application serves again, because going back from there would
lose what users wrote.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.engine_census import count_engine
from tasks.engine_check import check_engine
from tasks.engine_prepare import prepare_engine
from tasks.engine_prove import prove_engine
from tasks.engine_statistics import rebuild_statistics
from tasks.engine_upgrade import upgrade_engine
from tasks.step import Step


def engine_steps(
    *, before: Sequence[Step] = (), offline: Sequence[Step] = (), online: Sequence[Step] = ()
) -> tuple[Step, ...]:
    """The steps of a change of version.

    Args:
        before: comes first, such as the check that the run may start.
        offline: takes every web application of the server offline; its undo brings them back.
        online: starts them, proves their health and lifts the page.
    """
    return (
        *before,
        check_engine,
        prepare_engine,
        *offline,
        count_engine,
        upgrade_engine,
        rebuild_statistics,
        prove_engine,
        *online,
    )
