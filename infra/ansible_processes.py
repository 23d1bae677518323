"""The processes that a playbook has started on this machine, found by what stands in their environment.

Invariant: a process is found by its cookie, never by its name or a remembered process id; Ansible's workers
leave their parent's session and process group, so nothing else finds them all.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

RUN_COOKIE = "FRESHET_RUN"
"""`<run>:<epoch>`."""
SCRATCH_COOKIE = "FRESHET_SCRATCH"
"""The run's scratch folder: several installations on one machine count their runs alike."""
CALL_COOKIE = "FRESHET_CALL"
"""One call of the adapter."""

TERM_SECONDS = 3.0
KILL_SECONDS = 5.0

Environment = Mapping[str, str]


def carrying(wanted: Callable[[Environment], bool]) -> dict[int, int]:
    """Process ids and their parents' of all living processes whose environment is `wanted`.

    Processes of other users, whose environment cannot be read, are never among them.
    """
    found: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            raw = (folder / "environ").read_bytes()
            if b"FRESHET_" in raw and wanted(_parsed(raw)):
                state, parent = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
                if state not in {"Z", "X"}:
                    found[int(folder.name)] = int(parent)
    return found


def end(wanted: Callable[[Environment], bool]) -> int:
    """End every process whose environment is `wanted`; the topmost first, which may end the others itself.

    Returns:
        How many there were at first.

    Raises:
        TimeoutError: some would not end.
    """
    first = carrying(wanted)
    tops = [process for process, parent in first.items() if parent not in first]
    for process in tops:
        _signal(process, signal.SIGCONT)
        _signal(process, signal.SIGTERM)
    _gone(wanted, TERM_SECONDS)
    give_up = time.monotonic() + KILL_SECONDS
    while left := carrying(wanted):
        if time.monotonic() > give_up:
            raise TimeoutError(f"processes {sorted(left)} would not end")
        # All are stopped before any is killed: none can start another one meanwhile.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in left:
                _signal(process, number)
        _gone(wanted, 0.2)
    return len(first)


def of_call(call: str) -> Callable[[Environment], bool]:
    """The processes of one call of the adapter."""
    return lambda environment: environment.get(CALL_COOKIE) == call


def of_earlier_epochs(run: str, below_epoch: int, scratch: Path) -> Callable[[Environment], bool]:
    """The processes of `run` that a worker with an epoch below `below_epoch` has started."""
    place = str(scratch.resolve())

    def wanted(environment: Environment) -> bool:
        if environment.get(SCRATCH_COOKIE) != place:
            return False
        owner, _, epoch = environment.get(RUN_COOKIE, "").rpartition(":")
        return owner == run and epoch.isdigit() and int(epoch) < below_epoch

    return wanted


def _gone(wanted: Callable[[Environment], bool], patience: float) -> None:
    give_up = time.monotonic() + patience
    while carrying(wanted) and time.monotonic() < give_up:
        time.sleep(0.05)


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def _parsed(raw: bytes) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in raw.decode(errors="replace").split("\0"))
    return {key: value for key, equals, value in pairs if equals}
