"""What a run of Ansible tells: outcomes, failures in their own words without secrets, and its events."""

from __future__ import annotations

import time

import pytest

from infra.ansible_events import Outcome, TaskEvent
from policy.errors import Cancelled, StepFailed, TimedOut
from tests.playbooks.ansible_bench import WORD, Bench
from tests.waiting import wait_until


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


def test_a_slow_listener_loses_no_event_and_does_not_hold_up_the_work(bench: Bench) -> None:
    told: list[TaskEvent] = []

    def slowly(event: TaskEvent) -> None:
        time.sleep(0.5)
        told.append(event)

    tasks = "".join(f"- name: Say {number}\n  ansible.builtin.debug: {{msg: x}}\n" for number in range(10))
    done = bench.go(tasks, on_event=slowly)
    assert len(done.tasks) == 10
    assert len(told) < 20, "it returned before the listener had heard everything"
    wait_until(lambda: len(told) == 20)


def test_a_failing_listener_fails_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: TaskEvent) -> None:
        raise RuntimeError("the display is gone")

    done = bench.go("- name: Say\n  ansible.builtin.debug: {msg: x}\n", on_event=fail)
    assert len(done.tasks) == 1
    assert "a listener failed" in caplog.text
