"""Neutralise the incoming database: nothing in it calls out, runs by itself or names Production.

Invariant: repeated as a whole by whoever takes over, because every statement of it is idempotent. A clone of
a golden image was neutralised for this very site when the image was built; nothing is written to it here.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.postgres.neutralise import Places
from infra.postgres.neutralise import neutralise as make_harmless
from tasks.pair import pair, proven_clone
from tasks.step import Step, Work


def _done(_work: Work) -> bool:
    return False


def _do(work: Work) -> Mapping[str, object]:
    ends = pair(work)
    if proven_clone(ends):
        work.mid()
        return {"neutralised": "when the golden image was built"}
    places = Places.of(ends.source.site, ends.target.site)
    with ends.on_incoming() as incoming:
        work.prove()
        work.mid()
        acts = make_harmless(incoming, ends.protection(), places)
    return {"neutralised": [{"what": act.title, "count": act.count} for act in acts]}


def _undo(work: Work) -> None:
    """The incoming database is dropped where it was created."""


neutralise = Step(name="neutralise", title="Neutralise the copy", done=_done, do=_do, undo=_undo)
