"""Which processes belong to a stack: those that carry its cookie in their environment.

Invariant: the truth is in the process table, not in a file: a killed `up` leaves nothing unknown, and a
process that merely got a recycled id is never touched.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from policy.errors import Unavailable

COOKIE = "FRESHET_STACK"
"""Its value is the state directory; children inherit it, so it also finds what a dead worker left behind."""


def cookie(state: Path) -> dict[str, str]:
    """The variable that marks a process as belonging to the stack in `state`."""
    return {COOKIE: str(state.resolve())}


def carrying(state: Path) -> list[psutil.Process]:
    """Every living process of the stack in `state`, except this one and those that it descends from."""
    wanted = f"{COOKIE}={state.resolve()}".encode()
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in spared:
            continue
        # Gone meanwhile, or somebody else's: not ours either way.
        with suppress(OSError, psutil.Error):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                process = psutil.Process(int(folder.name))
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def running(state: Path, command: Sequence[str]) -> psutil.Process | None:
    """The stack's process that was started with exactly `command`, or None."""
    for process in carrying(state):
        with suppress(psutil.Error):
            if process.cmdline() == list(command):
                return process
    return None


def end(processes: Iterable[psutil.Process], *, grace_s: float) -> None:
    """Ask `processes` to stop, and kill what still lives after `grace_s`.

    Raises:
        Unavailable: one survived even that.
    """
    left = _alive(processes)
    for sign, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        for process in left:
            # psutil compares the start time first, so a recycled id raises NoSuchProcess.
            with suppress(psutil.NoSuchProcess):
                process.send_signal(sign)
                # A frozen process ends only once it may go on.
                process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + wait_s
        while (left := _alive(left)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not left:
            return
    raise Unavailable("these processes do not end: " + ", ".join(f"{p.pid}" for p in left))


def _alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie does not, it only waits for whoever started it to ask."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
