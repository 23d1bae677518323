"""Starts workers: forked from one process that has imported everything, each a process of its own.

Invariant: a worker's end is told by the kernel, through its parent, never guessed from the ledger; `close`
leaves no worker behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PATIENCE = 60.0


@dataclass
class Worker:
    """One worker process.

    Attributes:
        out: the file in which it tells how the flow ended; beside it lies its log.
    """

    out: Path
    pid: int = 0
    code: int | None = None
    began: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for its end and return its exit code; negative for the signal that ended it."""
        assert self.ended.wait(patience), f"worker {self.pid} did not end in {patience:.0f} s:\n{self.log}"
        assert self.code is not None
        return self.code

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    @property
    def told(self) -> Mapping[str, object]:
        """How the flow ended, in its own words."""
        assert self.out.exists(), f"the worker told nothing:\n{self.log}"
        said: Mapping[str, object] = json.loads(self.out.read_text(encoding="utf-8"))
        return said

    @property
    def log(self) -> str:
        """All that it wrote."""
        path = self.out.with_suffix(".log")
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def stopped(self) -> bool:
        """Whether it is frozen."""
        state = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        return state == "T"


class Nursery:
    """The process that forks workers."""

    def __init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.worker", "--nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=PROJECT,
            env={
                **kept,
                "PREFECT_LOGGING_TO_API_ENABLED": "false",
                "PREFECT_API_URL": "http://127.0.0.1:9/api",
            },
            start_new_session=True,
        )
        self._orders = count(1)
        self._by_order: dict[int, Worker] = {}
        self._by_pid: dict[int, Worker] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="nursery", daemon=True).start()

    def begin(self, request: str, env: Mapping[str, str], out: Path) -> Worker:
        """Start a worker for `request`."""
        order, worker = next(self._orders), Worker(out=out)
        line = json.dumps({"order": order, "request": request, "env": dict(env), "out": str(out)}) + "\n"
        with self._lock:
            self._by_order[order] = worker
            assert self._process.stdin is not None
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        assert worker.began.wait(PATIENCE), "the nursery is gone"
        return worker

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "pid" in said:
                worker = self._by_order.pop(said["order"])
                worker.pid = said["pid"]
                self._by_pid[worker.pid] = worker
                worker.began.set()
            elif "ended" in said:
                worker = self._by_pid.pop(said["ended"])
                worker.code = said["code"]
                worker.ended.set()

    def close(self) -> None:
        """End it and every worker that is left."""
        for pid in list(self._by_pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def reached(trace: Path, point: str) -> bool:
    """Whether a worker has come to `point`."""
    return trace.exists() and point in trace.read_text(encoding="utf-8").split()
