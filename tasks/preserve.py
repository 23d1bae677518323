"""Preserve what is the target's own: its rows, and what its own roles were granted inside the database.

Invariant: the target is only read. Rows that change in it afterwards, until it goes offline, stay behind; the
report says when they were taken.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.postgres.grants import carry_grants
from infra.postgres.preserve import preserve as carry
from tasks.pair import pair
from tasks.step import Step, Work


def _done(_work: Work) -> bool:
    return False  # Repeating it takes the rows as they are now.


def _do(work: Work) -> Mapping[str, object]:
    ends = pair(work)
    protection = ends.protection()
    with ends.on_target() as target, ends.on_incoming() as incoming:
        work.prove()
        work.mid()
        carry(target, incoming, protection)
        with ends.on_source() as source:
            grants = carry_grants(source, target, incoming)
    return {
        "kept_at": work.clock.now().isoformat(),
        "grants_kept": grants.given,
        "grants_left": list(grants.left),
    }


def _undo(work: Work) -> None:
    """The incoming database is dropped where it was created; the target was only read."""


preserve = Step(name="preserve", title="Keep the site's own rows", done=_done, do=_do, undo=_undo)
