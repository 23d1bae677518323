"""The adapter over Ansible, with small real playbooks: what they are given, what hangs, what is cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from infra import ansible_processes
from infra.ansible import end_leftovers
from policy.errors import Cancelled, Refused, TimedOut, Unavailable
from policy.machines import Host
from policy.names import HostName
from tests.playbooks.ansible_bench import LOCAL, SLEEPER, WORD, Bench
from tests.ports import free_port
from tests.waiting import wait_until


def alive(mark: Path) -> bool:
    """Whether the process that wrote `mark` lives; one that nobody has reaped yet does not."""
    try:
        stat = Path(f"/proc/{mark.read_text().strip()}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def test_an_unreachable_host_is_not_a_failed_one(bench: Bench) -> None:
    gone = Host(name=HostName("gone"), connection="ssh", address="127.0.0.1", port=free_port(), user="nobody")
    with pytest.raises(Unavailable, match="host gone: "):
        bench.go("- name: Ping\n  ansible.builtin.ping:\n", hosts=(LOCAL, gone))


def test_an_unknown_connection_is_refused_before_anything_runs(bench: Bench) -> None:
    with pytest.raises(Refused, match="carrier-pigeon"):
        bench.go("[]", hosts=[Host(name=HostName("far"), connection="carrier-pigeon")])


def test_texts_are_never_evaluated(bench: Bench) -> None:
    mark = bench.folder / "evil"
    text = "{{ lookup('ansible.builtin.pipe', 'touch " + str(mark) + "') }}"
    done = bench.go(
        """
        - name: Show
          ansible.builtin.set_stats:
            data: {shown: "{{ maintenance.text }}"}
        """,
        variables={"maintenance": {"text": text}},
    )
    assert done.fact("shown") == text
    assert not mark.exists()


def test_check_mode_changes_nothing(bench: Bench) -> None:
    target = bench.folder / "made"
    tasks = '- name: Make\n  ansible.builtin.copy: {content: x, dest: "{{ target }}", mode: "0600"}\n'
    told = bench.go(tasks, variables={"target": target}, check=True)
    assert (told.changed, target.exists()) == (1, False)
    assert bench.go(tasks, variables={"target": target}).changed == 1
    assert bench.go(tasks, variables={"target": target}).changed == 0


def test_a_run_knows_nothing_of_the_run_before(bench: Bench) -> None:
    tasks = """
    - name: Show
      ansible.builtin.set_stats:
        data: {version: "{{ version | default('none') }}"}
    """
    assert bench.go(tasks, variables={"version": "26.5.0"}).fact("version") == "26.5.0"
    assert bench.go(tasks).fact("version") == "none"
    assert [path.name for path in (bench.folder / "scratch").iterdir()] == ["evidence"]


def test_only_the_named_environment_is_passed_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WORD)
    monkeypatch.setenv("FRESHET_FAILPOINT", "upgrade.stop.mid=kill")
    done = bench.go(
        """
        - name: Look
          ansible.builtin.command: env
          register: seen
          changed_when: false
        - name: Tell
          ansible.builtin.set_stats:
            data: {seen: "{{ seen.stdout }}"}
        """
    )
    seen = str(done.fact("seen"))
    assert f"FRESHET_RUN={bench.run}:1" in seen
    assert WORD not in seen
    assert "FRESHET_FAILPOINT" not in seen


@pytest.mark.parametrize("way", ["cancel", "time-out"])
def test_what_is_cut_off_leaves_nothing_running(bench: Bench, way: str) -> None:
    mark = bench.folder / "mark"
    begun = time.monotonic()
    expected = Cancelled if way == "cancel" else TimedOut
    with pytest.raises(expected, match="everything it had started was ended"):
        bench.go(
            SLEEPER,
            variables={"mark": mark},
            timeout_s=60 if way == "cancel" else 4,
            cancelled=lambda: way == "cancel" and mark.exists() and bool(mark.read_text().strip()),
        )
    assert time.monotonic() - begun < 30
    if mark.exists():
        assert not alive(mark)
    assert bench.left() == []


def test_a_stubborn_command_is_killed(bench: Bench) -> None:
    mark = bench.folder / "mark"
    with pytest.raises(Cancelled):
        bench.go(
            """
            - name: Ignore every request to end
              ansible.builtin.shell: "trap '' TERM HUP INT; echo $$ > {{ mark }}; while :; do sleep 1; done"
            """,
            variables={"mark": mark},
            cancelled=lambda: mark.exists() and bool(mark.read_text().strip()),
        )
    assert not alive(mark)
    assert bench.left() == []


def test_several_at_once_do_not_mix(tmp_path: Path) -> None:
    benches = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        benches.append(Bench(tmp_path / str(number)))
    facts: dict[int, object] = {}

    def work(number: int) -> None:
        tasks = "- name: Tell\n  ansible.builtin.set_stats:\n    data: {mine: '{{ mine }}'}\n"
        facts[number] = benches[number].go(tasks, variables={"mine": f"n{number}"}).fact("mine")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert facts == {0: "n0", 1: "n1", 2: "n2"}


_CHILD = """
import sys
from pathlib import Path
from tests.playbooks.ansible_bench import SLEEPER, Bench
bench = Bench(Path(sys.argv[1]))
bench.run = sys.argv[2]
bench.go(SLEEPER, variables={"mark": Path(sys.argv[1]) / "mark"}, epoch=int(sys.argv[3]))
"""


@pytest.mark.parametrize("way", ["killed", "frozen"])
def test_a_worker_that_dies_or_freezes_leaves_nothing_to_its_successor(tmp_path: Path, way: str) -> None:
    run, epoch = f"r{os.getpid() % 9999 + 1}a7", 4
    worker = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path), run, str(epoch)], cwd=Path(__file__).parents[2]
    )
    mark, scratch = tmp_path / "mark", tmp_path / "scratch"

    def carried() -> list[int]:
        return list(ansible_processes.carrying(ansible_processes.of_earlier_epochs(run, epoch + 1, scratch)))

    try:
        wait_until(lambda: mark.exists() and bool(mark.read_text().strip()), 60)
        assert carried()
        if way == "killed":
            worker.kill()
            worker.wait()
            # Nobody has to do anything: the kernel tells the playbook, which ends what it began.
            wait_until(lambda: not carried())
        else:
            worker.send_signal(signal.SIGSTOP)
            assert end_leftovers(run, epoch, scratch) == 0, "its own epoch is not an earlier one"
            assert end_leftovers(run, epoch + 1, tmp_path / "another") == 0, "another installation's run"
            assert carried()
            assert end_leftovers(run, epoch + 1, scratch) > 0
        assert carried() == []
        assert not alive(mark)
    finally:
        worker.send_signal(signal.SIGCONT)
        worker.kill()
        worker.wait()
