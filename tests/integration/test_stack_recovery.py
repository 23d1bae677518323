"""A stack that was killed, interrupted, started twice or hindered is put right by the next `up` or `down`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import typer
from typer.testing import CliRunner

from infra.stack.layout import PROJECT
from infra.stack.ports import Ports
from infra.stack.processes import carrying, cookie, end
from infra.stack.stack import Stack
from policy.errors import Refused
from portal.cli import stack_commands
from tests.ports import free_base
from tests.small_stack import SmallStack


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory whose stack is ended whatever the test did."""
    folder = tmp_path / "state"
    yield folder
    with suppress(ProcessLookupError):
        end(carrying(folder), grace_s=0.2)


def program(verb: str, state: Path, base: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.small_stack", verb, str(state), str(base)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=PROJECT,
    )


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def names(state: Path) -> list[str]:
    return sorted(" ".join(process.cmdline()) for process in carrying(state))


def test_killed_at_any_moment_then_down_and_up(state: Path) -> None:
    base = free_base()
    for processes in (1, 3, 5):
        starting = program("up", state, base)
        _until(processes, state)
        starting.kill()
        starting.communicate()
    # Nothing was mended in between: each start found what the killed one before had left.
    finished(program("up", state, base))
    started = names(state)
    assert len(started) == 6, started
    finished(program("down", state, base))
    assert names(state) == []


def test_two_starts_at_once_make_one_stack(state: Path) -> None:
    base = free_base()
    first, second = program("up", state, base), program("up", state, base)
    said = [finished(first), finished(second)]
    assert any("waiting for process" in text for text in said)
    assert sorted(text.count("runs already") for text in said) == [0, 6]
    assert len(names(state)) == 6
    finished(program("down", state, base))
    assert names(state) == []


def test_dead_and_frozen_services_are_started_anew(state: Path) -> None:
    base = free_base()
    stack = SmallStack.wanted(state=state, port_base=base, tell=lambda _line: None)
    stack.up()
    mail, aws, live = (_pid(stack, name) for name in ("mail", "aws", "live"))
    os.kill(mail, signal.SIGKILL)
    os.kill(live, signal.SIGKILL)
    os.kill(aws, signal.SIGSTOP)
    untouched = _pid(stack, "trial")
    stack.up()
    assert {_pid(stack, "mail"), _pid(stack, "aws"), _pid(stack, "live")}.isdisjoint({mail, aws, live})
    assert _pid(stack, "trial") == untouched
    for service in stack.services():
        assert service.ailment() is None
    stack.down()
    assert names(state) == []


def test_a_taken_port_is_named_and_nothing_starts(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    stack_commands.register(app)
    base = free_base()
    monkeypatch.setenv("FRESHET_STATE_DIR", str(state))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 1))
        taken.listen()
        answer = CliRunner().invoke(app, ["up", "--port-base", str(base)])
    assert answer.exit_code == 2
    assert f"port {base + 1}, needed for PostgreSQL 18 for Production, is taken by" in answer.stderr
    assert f"process {os.getpid()}" in answer.stderr
    assert "--port-base" in answer.stderr
    assert names(state) == []
    assert list((state / "clusters").iterdir()) == []


def test_down_ends_what_carries_the_cookie_and_nothing_else(state: Path) -> None:
    """Also what ignores SIGTERM; never a process of another stack that looks the same."""
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print(flush=True); time.sleep(300)"
    )
    command = [sys.executable, "-c", stubborn]
    mine = subprocess.Popen(command, env={**os.environ, **cookie(state)}, stdout=subprocess.PIPE)
    other = subprocess.Popen(command, env={**os.environ, **cookie(state / "other")}, stdout=subprocess.PIPE)
    try:
        for process in (mine, other):
            assert process.stdout is not None
            process.stdout.readline()
        state.mkdir()
        SmallStack.existing(state=state, tell=lambda _line: None).down()
        assert mine.wait(timeout=5) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for process in (mine, other):
            process.kill()
            process.communicate()


def test_a_damaged_file_of_ports_is_refused(state: Path) -> None:
    state.mkdir()
    (state / "ports.json").write_text('{"control": "x"}')
    with pytest.raises(Refused, match=r"ports\.json is damaged"):
        SmallStack.existing(state=state, tell=lambda _line: None)


def test_ports_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_PORT_LIVE", "99999")
    monkeypatch.setenv("FRESHET_PORT_TRIAL", "15430")
    with pytest.raises(Refused) as refused:
        Ports.asked(15430)
    assert "FRESHET_PORT_LIVE" in refused.value.findings[0]
    assert "port 15430 was given to two services" in refused.value.findings[1]


def test_an_interrupted_start_says_how_to_go_on(state: Path) -> None:
    starting = program("up", state, free_base())
    _until(1, state)
    starting.send_signal(signal.SIGINT)
    said, _ = starting.communicate(timeout=30)
    assert starting.returncode != 0
    assert "KeyboardInterrupt" in said
    stack = SmallStack.existing(state=state, tell=lambda _line: None)
    stack.down()
    assert names(state) == []


def _until(processes: int, state: Path) -> None:
    """Wait until so many processes of the stack run."""
    deadline = time.monotonic() + 60
    while len(carrying(state)) < processes:
        assert time.monotonic() < deadline, "the stack does not begin to start"
        time.sleep(0.02)


def _pid(stack: Stack, name: str) -> int:
    service = next(service for service in stack.services() if service.name == name)
    found = [
        process
        for process in carrying(stack.layout.state)
        if any(part in " ".join(process.cmdline()) for part in _marks(stack, name))
    ]
    assert len(found) == 1, (service.name, [process.cmdline() for process in found])
    assert isinstance(found[0], psutil.Process)
    return int(found[0].pid)


def _marks(stack: Stack, name: str) -> tuple[str, ...]:
    clusters = {"control", "live", "trial"}
    if name in clusters:
        return (str(stack.layout.clusters / name),)
    return (
        {"mail": "infra.stack.mail_catcher", "aws": "moto.server", "supervisor": "supervisor.supervisord"}[
            name
        ],
    )
