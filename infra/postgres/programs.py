"""PostgreSQL's client programs, run so that none outlives the worker.

Invariant: a program gets a clean environment and its password by file, the kernel ends it when the thread
that started it dies, and nothing of a row's content in its messages reaches ours: only the server's first
line does.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from os import getpid
from pathlib import Path

from infra.stack.cluster import PostgresVersion, bin_dir
from policy.errors import StepFailed, Unavailable

_DIE_WITH_PARENT = (
    "import ctypes,os,sys;"
    "ctypes.CDLL(None).prctl(1,9,0,0,0);"  # PR_SET_PDEATHSIG, SIGKILL
    "os.getppid()==int(sys.argv[1]) or os._exit(1);"
    "os.execv(sys.argv[2],sys.argv[2:])"
)
_FIRST_LINE = re.compile(r"(?:ERROR|FATAL|PANIC):  (.*)|(?:pg_\w+|psql): error: (.*)")
_GONE = re.compile(
    "server closed the connection|connection to server .* failed|no connection to the server"
    "|terminating connection|the database system is|SSL connection has been closed"
    "|could not (?:send data to|receive data from) server"
)
"""What libpq and the server say when a connection was lost or not made; client programs have no codes."""
_TICK_SECONDS = 0.05


def programs_for(*majors: int) -> Path:
    """The folder of the oldest installed programs that know servers of all `majors`.

    pg_dump refuses a server newer than itself, and what a newer pg_restore writes an older server may not
    know.

    Raises:
        Unavailable: none of the installed ones is new enough.
    """
    for version in sorted(PostgresVersion):
        if version >= max(majors):
            try:
                return bin_dir(version)
            except Unavailable:
                continue
    raise Unavailable(
        f"no PostgreSQL client programs for version {max(majors)} are installed: "
        "set FRESHET_POSTGRES_BIN to the folder of newer ones"
    )


def start(
    program: Path,
    *arguments: str,
    environment: Mapping[str, str],
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.DEVNULL,
    stderr: int | None = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start `program`, to be waited for by the calling thread."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(getpid()), str(program), *arguments],
        env=dict(environment),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd="/",
    )


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended."""

    code: int
    stdout: str
    stderr: str


def run(
    program: Path,
    *arguments: str,
    environment: Mapping[str, str],
    stop: threading.Event | None = None,
    stdin: str | None = None,
) -> Ended:
    """Run `program` to its end and return what it said; it is ended when `stop` is set.

    Raises:
        StepFailed: `stop` was set.
    """
    process = start(
        program,
        *arguments,
        environment=environment,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    said: list[bytes] = []

    def converse() -> None:
        said.extend(process.communicate(stdin.encode() if stdin is not None else None))

    talker = threading.Thread(target=converse, name=f"talk-{program.name}", daemon=True)
    talker.start()
    try:
        while talker.is_alive():
            talker.join(_TICK_SECONDS)
            if stop is not None and stop.is_set():
                raise StepFailed(f"{program.name} was ended because the copy ended")
    finally:
        if process.poll() is None:
            process.kill()
        talker.join()
    out, err = (part.decode("utf-8", errors="replace") for part in said)
    return Ended(code=process.returncode, stdout=out, stderr=err)


def demand(ended: Ended, what: str) -> Ended:
    """`ended`, if all went well.

    Raises:
        Unavailable: the server went away meanwhile, or did not let the program in; it can be tried again.
        StepFailed: it failed; the message holds the first line of the server's words only.
    """
    if ended.code == 0:
        return ended
    said = f"{what} failed: {first_line(ended.stderr)}"
    if _GONE.search(ended.stderr):
        raise Unavailable(said)
    raise StepFailed(said)


def first_line(stderr: str) -> str:
    """The first error in a client program's words, without DETAIL, which may quote a row."""
    for line in stderr.splitlines():
        found = _FIRST_LINE.search(line)
        if found:
            return (found[1] or found[2]).strip()[:300]
    return "the program ended without saying why"


def seconds_since(began: float) -> float:
    """Seconds since `began`, a reading of `time.monotonic()`."""
    return time.monotonic() - began
