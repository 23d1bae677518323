"""A playbook that is started ahead: it touches nothing before the word, and leaves nothing when unwanted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.ansible import StageResult, run_stages
from infra.ansible_ahead import Ahead
from infra.ansible_guard import Gate
from infra.ansible_processes import carrying
from infra.secrets import SecretFiles
from policy.errors import Cancelled, StepFailed, TimedOut
from policy.machines import Host
from policy.names import HostName, RunId

LOCAL = Host(name=HostName("local"), connection="local")
# The suite runs in several processes at once.
RUN = RunId(f"r{os.getpid() % 99_999 + 1}a2")
PLAY = """\
- hosts: webapp
  gather_facts: false
  tasks:
    - name: Wait
      ansible.builtin.include_role: {name: gate, tasks_from: wait}
    - name: Work
      ansible.builtin.command:
        argv: [sh, -c, "echo done > '{{ mark }}'; %s"]
"""
Order = Callable[..., Ahead]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """Starts a playbook ahead that writes the file `mark` and then runs `then`."""

    def begin(then: str = "true", timeout_s: float = 30) -> Ahead:
        play = tmp_path / "play.yml"
        play.write_text(PLAY % then)

        def carry_out(gate: Gate, unwanted: Callable[[], bool]) -> StageResult:
            return run_stages(
                playbook=play,
                hosts=[LOCAL],
                variables={"mark": tmp_path / "mark"},
                stages=["trial"],
                run=RUN,
                epoch=1,
                scratch=tmp_path / "scratch",
                secrets=SecretFiles(tmp_path),
                timeout_s=timeout_s,
                on_event=lambda _: None,
                cancelled=unwanted,
                gate=gate,
            )

        return Ahead(tmp_path / "scratch", carry_out)

    return begin


def waits(ahead: Ahead) -> None:
    """Ansible may take longer to start on a busy machine than a run would wait for it."""
    assert any(ahead.wait_until_ready() for _ in range(10))


def left() -> list[int]:
    return list(carrying(lambda environment: environment.get("FRESHET_RUN", "").startswith(RUN)))


def test_it_waits_for_the_word_and_then_does_all_of_it(order: Order, tmp_path: Path) -> None:
    ahead = order()
    waits(ahead)
    assert not (tmp_path / "mark").exists()
    result = ahead.go()
    assert (tmp_path / "mark").read_text() == "done\n"
    assert (result.changed, left()) == (1, [])
    assert not list((tmp_path / "scratch").glob("gate-*"))


def test_one_that_is_not_wanted_ends_without_having_done_anything(order: Order, tmp_path: Path) -> None:
    ahead = order()
    waits(ahead)
    ahead.withdraw()
    ahead.wait_until_gone()
    assert not ahead.usable
    assert not (tmp_path / "mark").exists()
    assert left() == []
    with pytest.raises(Cancelled):
        ahead.go()


def test_its_time_counts_from_the_word_on_and_a_failure_is_told(order: Order) -> None:
    ahead = order(then="sleep 60", timeout_s=2)
    waits(ahead)
    threading.Event().wait(2.5)
    assert ahead.usable, "waiting for the word is not the work's time"
    with pytest.raises(TimedOut):
        ahead.go()
    assert left() == []
    failing = order(then="exit 7")
    waits(failing)
    with pytest.raises(StepFailed, match="Work"):
        failing.go()
