"""A long-running program of the stack, in a session of its own, found again by what it is.

Invariant: it is nobody's child, so it outlives whoever started it and leaves no zombie; at most one runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from infra.stack.processes import carrying, cookie, end, running

LOG_LIMIT = 10 * 1024 * 1024
_DETACH = (
    "import os, sys\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "try: os.execv(sys.argv[1], sys.argv[1:])\n"
    "except OSError as error: sys.exit(f'{sys.argv[1]}: {error.strerror}')\n"
)


class Daemon:
    """One program of the stack.

    Args:
        command: absolute program and arguments; also how it is recognised.
        state: the stack's state directory.
        log: its output; the log of before is kept once when it grew beyond 10 MiB.
        environment: its whole environment, but for the cookie.
        directory: its working directory.
    """

    def __init__(
        self,
        *,
        command: Sequence[str],
        state: Path,
        log: Path,
        environment: Mapping[str, str],
        directory: Path,
    ) -> None:
        self.command = list(command)
        self.state = state
        self.log = log
        self.environment = dict(environment)
        self.directory = directory

    def process(self) -> psutil.Process | None:
        """The running program, or None."""
        return running(self.state, self.command)

    def start(self) -> None:
        """Start the program unless it runs; does not wait until it serves."""
        if self.process() is not None:
            return
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".1.log"))
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", _DETACH, *self.command],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                env={**self.environment, **cookie(self.state)},
                cwd=self.directory,
            )
        finally:
            os.close(descriptor)

    def stop(self, *, grace_s: float = 10.0) -> None:
        """End the program and every process of the stack that descends from it."""
        process = self.process()
        if process is None:
            return
        family = {child.pid for child in process.children(recursive=True)}
        # Looked up by the cookie: a child that is not the stack's is not ours to end.
        children = [found for found in carrying(self.state) if found.pid in family]
        end([process], grace_s=grace_s)
        end(children, grace_s=1.0)

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, for an error message."""
        if not self.log.exists():
            return "it wrote no log"
        text = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{self.log} ends: " + " / ".join(text[-lines:])
