"""What the modules of this role share: a data directory, the programs for it, and who runs on it.

Invariant: a server is known by the directory it works in, never by its name or a remembered process id; one
that was started privately is known by the access file on its command line, so it is never taken for the one
that serves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

PRIVATE_ACCESS = "freshet-private-hba.conf"
"""Name of the access file of a server that only this role may reach."""
MARK = "freshet-engine.json"
"""The file in a data directory that says: completely upgraded, from what, by which run."""
COOKIES = ("FRESHET_RUN", "FRESHET_CALL", "FRESHET_SCRATCH")
"""What marks a process as belonging to a run; a server that serves must outlive the run."""
ENDED = frozenset({"Z", "X"})
SPOILT = "calculated crc checksum does not match"
CONTROL_LINE = re.compile(r"([^:]+):\s+(.*)")


class ServerError(Exception):
    """Something about a server cannot be done; the message is for a person."""


def major_of_programs(folder: Path) -> int:
    """The major version of the programs in `folder`."""
    try:
        told = subprocess.run(
            [str(folder / "postgres"), "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ServerError(f"{folder} holds no PostgreSQL that runs: {error}") from error
    found = re.search(r"\) (\d+)", told)
    if found is None:
        raise ServerError(f"{folder}/postgres says an unknown version: {told.strip()}")
    return int(found.group(1))


def major_of_directory(data: Path) -> int:
    """The major version of the data directory; 0 when it is not one."""
    try:
        return int((data / "PG_VERSION").read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0


def control(folder: Path, data: Path) -> dict[str, str]:
    """What pg_controldata says of `data`."""
    done = subprocess.run(
        [str(folder / "pg_controldata"), "--pgdata", str(data)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0:
        raise ServerError(f"{data}: {done.stderr.strip()}")
    # It only warns of it, and what it tells then may be anything.
    if SPOILT in f"{done.stdout} {done.stderr}".lower():
        raise ServerError(f"{data}: its control file is spoilt")
    lines = (CONTROL_LINE.match(line) for line in done.stdout.splitlines())
    return {found.group(1): found.group(2).strip() for found in lines if found}


def postmaster(data: Path) -> int | None:
    """The process id of the server that works in `data`, or None."""
    try:
        told = (data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0]
        process = Path("/proc") / str(int(told))
        state = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        if state in ENDED:
            return None
        try:
            here = Path(os.readlink(process / "cwd")) == data.resolve()
        except PermissionError:
            here = str(data) in command_line(int(told))
    except (OSError, ValueError):
        return None
    return int(told) if here else None


def command_line(process: int) -> list[str]:
    """The words that `process` was started with."""
    try:
        return (Path("/proc") / str(process) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def private(process: int) -> bool:
    """Whether the server was started by this role for itself, and not to serve."""
    return any(PRIVATE_ACCESS in word for word in command_line(process))


def run(prefix: list[str], *command: str, serve: bool = False, timeout_s: float = 120) -> str:
    """Run a program as the server's user and return what it wrote.

    Args:
        prefix: the words that make it the server's user.
        command: the program and its arguments.
        serve: what it starts shall outlive the run.
        timeout_s: it is ended after so long.
    """
    environment = {key: value for key, value in os.environ.items() if not (serve and key in COOKIES)}
    try:
        done = subprocess.run(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={**environment, "LC_ALL": "C"},
            timeout=timeout_s,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        words = " / ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-6:])
        raise ServerError(f"{Path(command[0]).name} failed (exit code {done.returncode}): {words}")
    return done.stdout


def give(path: Path, like: Path) -> None:
    """Let `path` and all in it belong to the owner of `like`; root makes files for the server's user."""
    wanted = like.stat()
    if os.geteuid() != 0 or (wanted.st_uid, wanted.st_gid) == (0, 0):
        return
    for place in [path, *path.rglob("*")]:
        os.chown(place, wanted.st_uid, wanted.st_gid, follow_symlinks=False)


def tablespaces(data: Path) -> list[Path]:
    """The folders outside `data` in which its tablespaces lie."""
    return [Path(os.readlink(link)) for link in sorted((data / "pg_tblspc").glob("*")) if link.is_symlink()]


def forget_tablespaces(folder: Path, data: Path) -> list[str]:
    """Remove what `data` holds in its tablespaces, and its way there; another version's files stay."""
    version = f"PG_{major_of_directory(data)}_{control(folder, data)['Catalog version number']}"
    removed = []
    for link in [link for link in (data / "pg_tblspc").glob("*") if link.is_symlink()]:
        inside = Path(os.readlink(link)) / version
        if inside.is_dir():
            shutil.rmtree(inside)
            removed.append(str(inside))
        link.unlink()
    return removed


def end_at_once(data: Path, *, patience_s: float = 20.0) -> None:
    """Let the server in `data`, if there is one, stop without finishing anything, as after a crash."""
    process = postmaster(data)
    if process is None:
        return
    os.kill(process, signal.SIGQUIT)
    give_up = time.monotonic() + patience_s
    while postmaster(data) == process:
        if time.monotonic() > give_up:
            raise ServerError(f"the server in {data}, process {process}, does not end")
        time.sleep(0.05)


def owner_of(data: Path) -> str:
    """The run that has finished `data`; empty when none has."""
    try:
        return str(json.loads((data / MARK).read_text(encoding="utf-8")).get("run", ""))
    except (FileNotFoundError, NotADirectoryError):
        return ""
