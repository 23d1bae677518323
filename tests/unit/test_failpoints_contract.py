"""Every step has its places to die in, and what can be killed is what the flows do."""

from __future__ import annotations

import ast
import inspect
import os
import signal
import sys
import time
from collections.abc import Sequence

import pytest

from infra.failpoints import VARIABLE, Moment, failpoint, points
from policy.errors import StepFailed
from policy.request import Kind
from tasks.application import stages
from tasks.step import Step
from tests.faults.matrix import MIDDLES, MODULES, every_case, every_point, steps_of

ONLY_LOOKS = frozenset(
    {"check_may_start", "check_refresh", "check_undo", "check_upgrade", "verify_incoming", "check_health"}
)
"""Steps that change nothing, so that there is no middle in which anything could be half done."""

STEPS = [(kind, step) for kind in MODULES for step in steps_of(kind)]


def calls(function: object) -> set[str]:
    """The names of everything that a step's function calls, with the functions of its own module it calls."""
    module = sys.modules[getattr(function, "__module__", "")]
    seen: set[str] = set()
    todo = [function]
    while todo:
        tree = ast.parse(inspect.getsource(todo.pop()))  # type: ignore[arg-type]  # a function, or a step that is one
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                own = getattr(module, name, None)
                if name not in seen and inspect.isfunction(own) and own.__module__ == module.__name__:
                    todo.append(own)
                seen.add(name)
    return seen


def acts(function: object) -> bool:
    """Whether there is anything but a docstring in it."""
    tree = ast.parse(inspect.getsource(function)).body[0]  # type: ignore[arg-type]  # a function, or a step that is one
    assert isinstance(tree, ast.FunctionDef)
    return len(tree.body) > 1


@pytest.mark.parametrize(("kind", "step"), STEPS, ids=lambda value: getattr(value, "name", str(value)))
def test_a_step_that_changes_something_has_a_middle_to_die_in(kind: Kind, step: Step) -> None:
    if step.name in ONLY_LOOKS:
        assert not acts(step.undo), f"{step.name} changes nothing, so it has nothing to take back"
        return
    # `stages` has the middle of every playbook in it.
    assert calls(step.do) & {"mid", "stages"}, f"{step.name}: call work.mid() where a crash hurts most"
    if acts(step.undo):
        assert calls(step.undo) & {"mid", "stages"}, f"{step.name}: call work.mid() in its undo"


def test_stages_has_a_middle() -> None:
    assert "mid" in calls(stages)


@pytest.mark.parametrize("kind", MODULES)
def test_every_step_of_a_flow_is_in_the_matrix(kind: Kind) -> None:
    names = [step.name for step in steps_of(kind)]
    assert len(names) == len(set(names))
    listed = set(points(kind.value, names))
    for name in names:
        for moment in Moment:
            assert f"{kind.value}.{name}.{moment}" in listed
            assert f"{kind.value}.{name}.undo.{moment}" in listed
    matrix = {case.point for case in every_case() if case.kind is kind}
    assert matrix == set(every_point(kind))
    changing = {name for name in names if name not in ONLY_LOOKS}
    assert {act for act in MIDDLES[kind] if not act.endswith(".undo")} == changing


def test_a_failpoint_is_nothing_without_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    failpoint("refresh.swap.mid")


@pytest.mark.parametrize("given", ["refresh.swap.mid=raise", "a.b.mid=kill,refresh.swap.mid=raise"])
def test_a_failpoint_fails_the_step_that_it_names(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(StepFailed, match=r"refresh\.swap\.mid"):
        failpoint("refresh.swap.mid")
    failpoint("refresh.swap.mid.2")
    failpoint("refresh.swap")


def test_a_failpoint_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "refresh.swap.mid=sleep:0.05")
    began = time.monotonic()
    failpoint("refresh.swap.mid")
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize(("action", "number"), [("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)])
def test_a_failpoint_sends_the_signal(
    monkeypatch: pytest.MonkeyPatch, action: str, number: signal.Signals
) -> None:
    sent: Sequence[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, which: sent.append((pid, which)))  # type: ignore[attr-defined]  # a Sequence that is a list
    monkeypatch.setenv(VARIABLE, f"refresh.swap.mid={action}")
    failpoint("refresh.swap.mid")
    assert sent == [(os.getpid(), number)]


def test_an_action_that_nobody_knows_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "refresh.swap.mid=explode")
    with pytest.raises(ValueError, match="unknown action"):
        failpoint("refresh.swap.mid")
