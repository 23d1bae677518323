"""What playbooks would do without their guards: run a customer's text, or work on beside a successor's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra import ansible_processes
from infra.ansible import end_leftovers, run_stages
from infra.secrets import SecretFiles
from policy.machines import Host
from policy.names import HostName
from tests.faults.conftest import Damage
from tests.faults.nursery import PROJECT
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SHOW = """
- hosts: webapp
  gather_facts: false
  tasks:
    - name: Show
      ansible.builtin.debug: {msg: "{{ text }}"}
"""
SLEEP = """
- hosts: webapp
  gather_facts: false
  tasks:
    - name: Sleep
      ansible.builtin.shell: "echo $$ > {{ text }}; sleep 300 & sleep 300"
"""


def play(folder: Path, tasks: str, text: str, *, run: str, epoch: int = 1) -> None:
    """Carry out `tasks` on this machine, with `text` as a customer wrote it."""
    playbook = folder / "play.yml"
    playbook.write_text(tasks, encoding="utf-8")
    run_stages(
        playbook=playbook,
        hosts=[Host(name=HostName("local"), connection="local")],
        variables={"text": text},
        stages=["trial"],
        run=run,
        epoch=epoch,
        scratch=folder / "scratch",
        secrets=SecretFiles(folder),
        timeout_s=120,
        on_event=lambda _: None,
    )


def test_without_marking_texts_a_customers_text_runs_a_command_on_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    for marked in (True, False):
        if not marked:
            monkeypatch.setattr("infra.ansible_inventory._Text", str)
        folder = tmp_path / str(marked)
        folder.mkdir()
        mark = folder / "evil"
        play(folder, SHOW, "{{ lookup('ansible.builtin.pipe', 'touch " + str(mark) + "') }}", run="r1a1")
        assert mark.exists() is not marked
    damage(19, "a customer's text for the maintenance page runs a command on the worker's machine")


_FROZEN = """
import sys
from pathlib import Path
from tests.faults.test_fault_playbooks import SLEEP, play
folder = Path(sys.argv[1])
play(folder, SLEEP, str(folder / "mark"), run=sys.argv[2])
"""


def test_without_the_scan_for_cookies_a_frozen_workers_playbook_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    run, mark, scratch = f"r{os.getpid() % 9999 + 1}a1", tmp_path / "mark", tmp_path / "scratch"
    worker = subprocess.Popen([sys.executable, "-c", _FROZEN, str(tmp_path), run], cwd=PROJECT)
    try:
        wait_until(lambda: mark.exists() and bool(mark.read_text(encoding="utf-8").strip()))
        worker.send_signal(signal.SIGSTOP)
        with monkeypatch.context() as without:
            without.setattr(ansible_processes, "carrying", lambda _: {})
            assert end_leftovers(run, 2, scratch) == 0
        assert lives(mark), "with the next worker at work"
        assert end_leftovers(run, 2, scratch) > 0
        assert not lives(mark)
    finally:
        worker.send_signal(signal.SIGCONT)
        worker.kill()
        worker.wait()
    damage(27, "the playbook of a frozen worker goes on changing the host while its successor's does")


def lives(mark: Path) -> bool:
    """Whether the process that wrote `mark` lives; one that nobody has reaped yet does not."""
    try:
        stat = Path(f"/proc/{mark.read_text(encoding='utf-8').strip()}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}
