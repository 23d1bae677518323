"""Playbooks of a run that are started ahead: what they wait for is the word of a later step.

Invariant: an entry is used at most once, only for the very words it was started with, and is withdrawn when
its run is left; that it is there or not changes no result, only how long users wait.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from infra.ansible import StageResult
from infra.ansible_ahead import Ahead
from infra.ansible_guard import Gate
from policy.names import RunId
from tasks.step import Work

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
    return found if found is not None and found.usable else None


def withdraw_ahead(run: RunId) -> None:
    """End every playbook of `run` that still waits."""
    with _lock:
        left = _waiting.pop(run, {})
    for ahead in left.values():
        ahead.withdraw()
    for ahead in left.values():
        ahead.wait_until_gone()
