"""Verify the closed incoming database before anybody can reach it: masked, neutral, complete, marked.

Invariant: only looks. One finding is enough to end the run with the target untouched. A clone of a golden
image was proven when the image was built; only what was written to it since is proven here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.postgres.incoming import is_closed
from infra.postgres.marker import read_marker
from infra.postgres.neutralise import Places
from infra.postgres.proof import prove_clone, prove_copy, prove_kept
from policy.errors import StepFailed
from tasks.pair import Pair, pair, proven_clone
from tasks.releases import same_release
from tasks.step import Step, Work


def _done(_work: Work) -> bool:
    return False


def _do(work: Work) -> Mapping[str, object]:
    ends = pair(work)
    protection = ends.protection()
    places = Places.of(ends.source.site, ends.target.site)
    with ends.on_target() as target, ends.on_incoming() as incoming:
        # A migration to the target's release may have written anywhere.
        if proven_clone(ends) and same_release(work, ends.source.site, ends.target.site):
            proof = prove_clone(incoming, protection, places)
        else:
            with ends.on_source() as source:
                proof = prove_copy(source, incoming, protection, places, ends.key())
        kept = prove_kept(target, incoming, protection, places)
    findings = [*_standing(work, ends), *proof.findings, *kept.findings]
    if findings:
        raise StepFailed("the copy was not let in: " + "; ".join(dict.fromkeys(findings)))
    return {**proof.facts, **kept.facts}


def _standing(work: Work, ends: Pair) -> Iterator[str]:
    with ends.on_server() as server:
        if not is_closed(server, ends.incoming):
            yield f"database '{ends.incoming}' is not closed: others than its owner may connect"
    with ends.on_incoming() as incoming:
        marker = read_marker(incoming)
    if marker is None or marker.site != ends.target.site.id or marker.run != work.run:
        yield f"database '{ends.incoming}' does not say that it is {ends.target.site.id} of {work.run}"


def _undo(work: Work) -> None:
    """Looking changed nothing."""


verify_incoming = Step(name="verify_incoming", title="Verify the copy", done=_done, do=_do, undo=_undo)
