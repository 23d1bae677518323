"""The adapter over Ansible, with small real playbooks: what fails, hangs, is cut off or leaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from infra import ansible_processes
from infra.ansible import StageResult, end_leftovers, run_stages
from infra.ansible_events import Outcome, TaskEvent
from infra.secrets import SecretFiles
from policy.errors import Cancelled, Refused, StepFailed, TimedOut, Unavailable
from policy.machines import Host
from policy.names import HostName
from tests.ports import free_port

LOCAL = Host(name=HostName("local"), connection="local")
WORD = "a-secret-word-41c9d7"


class Bench:
    """Runs playbooks written on the spot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = f"r{os.getpid() % 99999 + 1}a1"
        self.secret = folder / "word"
        self.secret.write_text(WORD + "\n")
        self.secret.chmod(0o600)
        self.events: list[TaskEvent] = []

    def playbook(self, tasks: str) -> Path:
        path = self.folder / "play.yml"
        path.write_text(
            "- hosts: webapp\n  gather_facts: false\n  any_errors_fatal: true\n  tasks:\n"
            + textwrap.indent(textwrap.dedent(tasks), "    ")
        )
        return path

    def go(
        self,
        tasks: str,
        *,
        variables: Mapping[str, object] | None = None,
        hosts: Sequence[Host] = (LOCAL,),
        timeout_s: float = 60,
        check: bool = False,
        epoch: int = 1,
        on_event: Callable[[TaskEvent], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> StageResult:
        return run_stages(
            playbook=self.playbook(tasks),
            hosts=hosts,
            variables={"word_file": self.secret, **(variables or {})},
            stages=["trial"],
            run=self.run,
            epoch=epoch,
            scratch=self.folder / "scratch",
            secrets=SecretFiles(self.folder),
            timeout_s=timeout_s,
            on_event=on_event or self.events.append,
            check=check,
            cancelled=cancelled,
        )

    def left(self) -> list[int]:
        """Processes of this run that are still there."""
        return list(
            ansible_processes.carrying(
                lambda environment: environment.get("FRESHET_RUN", "").startswith(self.run)
            )
        )

    def written(self) -> bytes:
        """Everything below the scratch folder, in one."""
        return b"".join(path.read_bytes() for path in (self.folder / "scratch").rglob("*") if path.is_file())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


SLEEPER = """
- name: Sleep
  ansible.builtin.shell: "echo $$ > {{ mark }}; sleep 300 & sleep 300"
"""


def alive(mark: Path) -> bool:
    """Whether the process that wrote `mark` lives; one that nobody has reaped yet does not."""
    try:
        stat = Path(f"/proc/{mark.read_text().strip()}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_good_run_tells_what_it_did(bench: Bench) -> None:
    done = bench.go(
        """
        - name: Touch
          ansible.builtin.shell: echo hello
        - name: Tell
          ansible.builtin.set_stats:
            data: {answer: 42}
        - name: Skip
          ansible.builtin.command: "false"
          when: false
        """
    )
    assert done.changed == 1
    assert [(task.task, task.outcome) for task in done.tasks] == [
        ("Touch", Outcome.CHANGED),
        ("Tell", Outcome.OK),
        ("Skip", Outcome.SKIPPED),
    ]
    assert done.fact("answer") == 42
    assert Outcome.STARTED in {event.outcome for event in bench.events}
    assert bench.left() == []


def test_a_failed_task_is_told_in_its_own_words_without_secrets(bench: Bench) -> None:
    with pytest.raises(StepFailed) as failure:
        bench.go(
            """
            - name: Fail
              ansible.builtin.shell: "echo no space left for {{ word }} >&2; exit 3"
              vars: {word: "{{ lookup('ansible.builtin.file', word_file) }}"}
            """
        )
    assert not isinstance(failure.value, Cancelled | TimedOut)
    assert "host local: Fail: " in str(failure.value)
    assert "no space left for ***" in str(failure.value)
    assert WORD.encode() not in bench.written()
    assert b"no space left" in bench.written(), "the evidence is kept"
    assert not any(WORD in event.message for event in bench.events)


def test_a_hidden_failure_says_so(bench: Bench) -> None:
    with pytest.raises(StepFailed, match="output holds secrets"):
        bench.go(
            """
            - name: Fail in secret
              ansible.builtin.fail: {msg: "{{ lookup('ansible.builtin.file', word_file) }}"}
              no_log: true
            """
        )
    assert WORD.encode() not in bench.written()


def test_a_rescued_failure_is_no_failure(bench: Bench) -> None:
    done = bench.go(
        """
        - name: Try
          block:
            - name: Fail
              ansible.builtin.fail: {msg: no}
          rescue:
            - name: Mend
              ansible.builtin.debug: {msg: mended}
        """
    )
    assert [task.outcome for task in done.tasks] == [Outcome.FAILED, Outcome.OK]


def test_a_broken_playbook_ends_with_its_last_words(bench: Bench) -> None:
    with pytest.raises(StepFailed, match="ended without a result"):
        bench.go("- name: Nonsense\n  no_such_module: {}\n")


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


def test_a_slow_listener_loses_no_event_and_does_not_hold_up_the_work(bench: Bench) -> None:
    told: list[TaskEvent] = []

    def slowly(event: TaskEvent) -> None:
        time.sleep(0.5)
        told.append(event)

    tasks = "".join(f"- name: Say {number}\n  ansible.builtin.debug: {{msg: x}}\n" for number in range(10))
    done = bench.go(tasks, on_event=slowly)
    assert len(done.tasks) == 10
    assert len(told) < 20, "it returned before the listener had heard everything"
    wait_for(lambda: len(told) == 20)


def test_a_failing_listener_fails_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: TaskEvent) -> None:
        raise RuntimeError("the display is gone")

    done = bench.go("- name: Say\n  ansible.builtin.debug: {msg: x}\n", on_event=fail)
    assert len(done.tasks) == 1
    assert "a listener failed" in caplog.text


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
from tests.playbooks.test_ansible_runs import SLEEPER, Bench
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
        wait_for(lambda: mark.exists() and bool(mark.read_text().strip()), 60)
        assert carried()
        if way == "killed":
            worker.kill()
            worker.wait()
            # Nobody has to do anything: the kernel tells the playbook, which ends what it began.
            wait_for(lambda: not carried())
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
