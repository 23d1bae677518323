"""What a playbook reports while it runs, and what became of it.

Invariant: a failed task is told in its own words, and an unreachable host is not a failed one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any

MESSAGE_LIMIT = 2000


class Outcome(StrEnum):
    """What became of a task on a host."""

    STARTED = "started"
    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, kw_only=True)
class TaskEvent:
    """Something happened.

    Attributes:
        stage: the stage's name, as its file in the role.
        task: the task's title.
        host: the host, empty when a task starts.
        seconds: how long the task took there.
        message: the task's own words if it failed.
    """

    outcome: Outcome
    stage: str
    task: str
    host: str = ""
    seconds: float = 0.0
    message: str = ""


TaskResult = TaskEvent
"""An event that ends a task on a host."""

_OUTCOMES: Mapping[str, Outcome] = {
    "playbook_on_task_start": Outcome.STARTED,
    "runner_on_ok": Outcome.OK,
    "runner_on_skipped": Outcome.SKIPPED,
    "runner_on_failed": Outcome.FAILED,
    "runner_on_unreachable": Outcome.UNREACHABLE,
}


class Account:
    """Everything that one playbook run has reported.

    Args:
        stages: those asked for; a stage begins with the first task of its file.
        redact: takes secrets out of a text.
    """

    def __init__(self, stages: Sequence[str], redact: Callable[[str], str]) -> None:
        self._stages = frozenset(stages)
        self._redact = redact
        self.tasks: list[TaskResult] = []
        self.facts: dict[str, dict[str, object]] = {}
        self.failure: TaskResult | None = None
        self.changed = 0
        self.finished = False
        self._stage = ""

    def take(self, event: Mapping[str, Any]) -> TaskEvent | None:
        """Note `event`, as the runner gives it; what is worth telling is returned."""
        kind = str(event.get("event"))
        data: Mapping[str, Any] = event.get("event_data") or {}
        if kind == "playbook_on_stats":
            self.finished = True
            # The runner hides the whole result of a task that hides its output; only the count tells then.
            self.changed = sum(int(count) for count in (data.get("changed") or {}).values())
        if kind not in _OUTCOMES:
            return None
        outcome = _OUTCOMES[kind]
        result = data.get("res")
        result = result if isinstance(result, Mapping) else {}
        if outcome is Outcome.OK and result.get("changed"):
            outcome = Outcome.CHANGED
        if outcome is Outcome.FAILED and data.get("ignore_errors"):
            outcome = Outcome.OK
        told = TaskEvent(
            outcome=outcome,
            stage=self._stage_of(data),
            task=str(data.get("task") or data.get("name") or ""),
            host=str(data.get("host") or "") if outcome is not Outcome.STARTED else "",
            seconds=round(float(data.get("duration") or 0.0), 3),
            message=self._redact(words_of(result))
            if outcome in {Outcome.FAILED, Outcome.UNREACHABLE}
            else "",
        )
        if outcome is Outcome.STARTED:
            return told
        if str(data.get("task_action", "")).endswith(("include_role", "include_tasks", "import_role")):
            return None
        self.tasks.append(told)
        if outcome in {Outcome.FAILED, Outcome.UNREACHABLE} and (
            # A host that is lost explains what failed elsewhere; otherwise the last failure counts, since a
            # rescue ends with the words that are meant for people.
            self.failure is None or self.failure.outcome is not Outcome.UNREACHABLE
        ):
            self.failure = told
        self._note_facts(told.host, result)
        return told

    def _stage_of(self, data: Mapping[str, Any]) -> str:
        path = PurePath(str(data.get("task_path") or "").rpartition(":")[0])
        if path.stem in self._stages:
            self._stage = path.stem
        return self._stage

    def _note_facts(self, host: str, result: Mapping[str, Any]) -> None:
        stats = result.get("ansible_stats")
        inner = stats.get("data") if isinstance(stats, Mapping) else None
        for facts in (result.get("freshet_facts"), inner):
            if isinstance(facts, Mapping):
                self.facts.setdefault(host, {}).update({str(key): value for key, value in facts.items()})


def words_of(result: Mapping[str, Any]) -> str:
    """The failed task's own words: its message, and the end of what its command wrote."""
    if "censored" in result:
        return "it failed; its output holds secrets and was not kept"
    parts = [str(result.get("msg") or "").strip()]
    failed = [
        item for item in result.get("results") or [] if isinstance(item, Mapping) and item.get("failed")
    ]
    parts += [words_of(item) for item in failed[:3]]
    for stream in ("stderr", "stdout", "module_stderr"):
        text = str(result.get(stream) or "").strip()
        if text:
            parts.append(" / ".join(text.splitlines()[-4:]))
            break
    return ": ".join(part for part in parts if part)[:MESSAGE_LIMIT] or "it failed without a word"
