"""Create the incoming database beside the target: empty, closed to everybody but its owner.

Invariant: the target serves on and is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.postgres.incoming import create_incoming as create
from infra.postgres.incoming import drop_made, encoding_of, exists, is_closed
from infra.postgres.tag import read_tag
from tasks.pair import pair
from tasks.step import Step, Work


def _done(work: Work) -> bool:
    ends = pair(work)
    with ends.on_server() as server:
        if not exists(server, ends.incoming) or not is_closed(server, ends.incoming):
            return False
        return read_tag(server, ends.incoming) is not None


def _do(work: Work) -> Mapping[str, object]:
    ends = pair(work)
    with ends.on_source() as source:
        encoding = encoding_of(source)
    with ends.on_server() as server:
        work.prove()
        work.mid()
        name = create(server, ends.target.site.database, work.run, at=work.clock.now(), encoding=encoding)
    return {"database": name}


def _undo(work: Work) -> None:
    ends = pair(work)
    with ends.on_server() as server:
        work.prove()
        work.mid()
        drop_made(server, ends.incoming, work.run)


create_incoming = Step(
    name="create_incoming", title="Create the new database", done=_done, do=_do, undo=_undo, drops=True
)
