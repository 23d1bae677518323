"""Playbooks of a run that are started ahead: what they wait for is the word of a later step.

Invariant: an entry is used at most once, only for the very words it was started with, and is withdrawn when
its run is left; that it is there or not changes no result, only how long users wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock

from infra.ansible import StageResult
from infra.ansible_ahead import Ahead
from infra.ansible_guard import Gate
from policy.names import RunId
from tasks.step import Work

log = logging.getLogger("freshet.ahead")

Words = tuple[str, ...]
"""Everything that tells one playbook run from another."""

_waiting: dict[RunId, dict[Words, Ahead]] = {}
_lock = Lock()


def start_ahead(
    work: Work, words: Words, carry_out: Callable[[Gate, Callable[[], bool]], StageResult]
) -> Ahead:
    """Start a playbook of `work` that waits until `take_ahead` is asked for `words`."""
    made = Ahead(work.scratch, carry_out)
    with _lock:
        before = _waiting.setdefault(work.run, {}).pop(words, None)
        _waiting[work.run][words] = made
    if before is not None:
        before.withdraw()
    return made


def take_ahead(run: RunId, words: Words) -> Ahead | None:
    """The playbook that waits for `words`, if there is one and it still can be used."""
    with _lock:
        found = _waiting.get(run, {}).pop(words, None)
    if found is not None and not found.usable:
        # What it was for is done without it, but users wait longer.
        log.warning("a playbook that was started ahead is of no use: %s", found.ended, extra={"run": run})
        return None
    return found


def withdraw_ahead(run: RunId) -> None:
    """End every playbook of `run` that still waits."""
    with _lock:
        left = _waiting.pop(run, {})
    for ahead in left.values():
        ahead.withdraw()
    for ahead in left.values():
        ahead.wait_until_gone()
