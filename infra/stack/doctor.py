"""What Freshet needs on this machine and in this stack, in plain words, with the way to get what is missing.

Invariant: looking changes nothing and starts nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psutil

from infra.estate_file import check_estate
from infra.ledger.connection import Ledger
from infra.secrets import SecretFiles
from infra.stack.cloning import can_clone
from infra.stack.cluster import PostgresVersion, bin_dir
from infra.stack.keyring import STACK
from infra.stack.ports import holder, is_free
from infra.stack.settings_file import LEDGER_PASSFILE
from infra.stack.stack import Stack
from infra.stack.unprivileged import prefix
from policy.errors import FreshetError, Unavailable

NEEDED_DISK = 2 * 1024**3
NEEDED_MEMORY = 1024**3
_FIRST_FASTAPI_THAT_FAILS = (0, 151)


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One thing that was looked at.

    Attributes:
        remedy: how to get it right; empty when it is.
    """

    subject: str
    well: bool
    said: str
    remedy: str = ""


def examine(stack: Stack) -> Iterator[Diagnosis]:
    """Look at the machine, then at the stack; one diagnosis after the other, as they come."""
    yield from (check() for check in (_system, _python, _postgres, _programs, _prefect, _zones))
    yield _room(stack.layout.state)
    yield _memory()
    yield _file_system(stack.layout.state)
    if not stack.layout.ports.exists():
        yield Diagnosis(
            subject="stack",
            well=False,
            said=f"{stack.layout.state} holds no stack",
            remedy="run `freshet up`",
        )
        return
    yield _secrets(stack)
    yield from _services(stack)
    yield _ledger(stack)
    yield _estate(Path(stack.settings["FRESHET_ESTATE"]))


def _judged(subject: str, look: Callable[[], str], remedy: str) -> Diagnosis:
    """What `look` says, or what it raises."""
    try:
        return Diagnosis(subject=subject, well=True, said=look())
    except (FreshetError, OSError, subprocess.CalledProcessError) as error:
        return Diagnosis(subject=subject, well=False, said=str(error), remedy=remedy)


def _system() -> Diagnosis:
    well = sys.platform == "linux" and Path("/proc/self/environ").exists()
    return Diagnosis(
        subject="operating system",
        well=well,
        said="Linux with /proc" if well else f"{sys.platform}, without Linux's /proc",
        remedy="" if well else "use Linux: the embedded stack knows its processes by /proc",
    )


def _python() -> Diagnosis:
    well = (3, 11) <= sys.version_info[:2] < (3, 14)
    version = ".".join(str(part) for part in sys.version_info[:3])
    remedy = "" if well else "make clean, then make environment PYTHON=/path/to/python3.11"
    return Diagnosis(subject="Python", well=well, said=version, remedy=remedy)


def _postgres() -> Diagnosis:
    def look() -> str:
        program = bin_dir(PostgresVersion.V18) / "postgres"
        done = subprocess.run([*prefix(), program, "--version"], capture_output=True, text=True, check=True)
        return f"{done.stdout.strip()} in {program.parent}"

    return _judged(
        "PostgreSQL 18", look, "run `make environment`, as an ordinary user where that is possible"
    )


def _programs() -> Diagnosis:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    missing = [
        name for name in ("ansible-playbook", "uv", "supervisorctl") if not shutil.which(name, path=path)
    ]
    return Diagnosis(
        subject="programs",
        well=not missing,
        said=f"missing: {', '.join(missing)}"
        if missing
        else "ansible-playbook, uv and supervisorctl are here",
        remedy="run `make environment`" if missing else "",
    )


def _prefect() -> Diagnosis:
    found = {name: metadata.version(name) for name in ("prefect", "fastapi")}
    parts = tuple(int(part) for part in found["fastapi"].split(".")[:2])
    well = parts < _FIRST_FASTAPI_THAT_FAILS
    return Diagnosis(
        subject="Prefect",
        well=well,
        said=f"Prefect {found['prefect']}, FastAPI {found['fastapi']}",
        remedy="" if well else "Prefect's server does not start on this FastAPI; run `make environment`",
    )


def _zones() -> Diagnosis:
    try:
        ZoneInfo("America/Chicago")
    except ZoneInfoNotFoundError:
        return Diagnosis(
            subject="time zones", well=False, said="no time zone data", remedy="run `make environment`"
        )
    return Diagnosis(subject="time zones", well=True, said="known")


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _room(state: Path) -> Diagnosis:
    free = shutil.disk_usage(_existing(state)).free
    well = free >= NEEDED_DISK
    return Diagnosis(
        subject="disk",
        well=well,
        said=f"{free / 1024**3:.1f} GiB free for {state}",
        remedy="" if well else "free 2 GiB there, or set FRESHET_STATE_DIR to a larger disk",
    )


def _memory() -> Diagnosis:
    free = psutil.virtual_memory().available
    well = free >= NEEDED_MEMORY
    return Diagnosis(
        subject="memory",
        well=well,
        said=f"{free / 1024**3:.1f} GiB available",
        remedy="" if well else "end other programs: the stack needs about 1 GiB",
    )


def _file_system(state: Path) -> Diagnosis:
    place = _existing(state)
    if not os.access(place, os.W_OK):
        remedy = "set FRESHET_STATE_DIR to a folder of yours"
        return Diagnosis(subject="file system", well=False, said=f"{place} is not writable", remedy=remedy)
    how = (
        "shares blocks: databases are cloned at once"
        if can_clone(place)
        else "copies blocks (ext4 and others)"
    )
    return Diagnosis(subject="file system", well=True, said=how)


def _secrets(stack: Stack) -> Diagnosis:
    files = SecretFiles(stack.layout.secrets)

    def look() -> str:
        for name in STACK:
            files.read(name)
        return f"{len(STACK)} in {stack.layout.secrets}, closed to others"

    return _judged("secrets", look, "run `freshet up`")


def _services(stack: Stack) -> Iterator[Diagnosis]:
    for service in stack.services():
        ailment: str | None
        remedy = "run `freshet up`"
        if service.running():
            ailment = service.ailment()
        else:
            ailment = "does not run"
            taken = [port for port in service.ports if not is_free(port)]
            if taken:
                ailment = f"does not run, and port {taken[0]} is taken by {holder(taken[0])}"
                remedy = "stop that, or run `freshet up --port-base 16430`"
        port = f" on port {service.ports[0]}" if service.ports else ""
        yield Diagnosis(
            subject=service.name,
            well=ailment is None,
            said=ailment or f"{service.what}{port}",
            remedy="" if ailment is None else remedy,
        )


def _ledger(stack: Stack) -> Diagnosis:
    def look() -> str:
        folder = resources.files("infra.ledger") / "migrations"
        shipped = {entry.name for entry in folder.iterdir() if entry.name.endswith(".sql")}
        ledger = Ledger(stack.settings["FRESHET_LEDGER"], stack.layout.secrets / LEDGER_PASSFILE)
        with ledger.transaction() as connection:
            there = connection.execute("SELECT to_regclass('migration') IS NOT NULL AS there").fetchone()
            names = (
                "SELECT name FROM migration"
                if there and there["there"]
                else "SELECT NULL AS name WHERE false"
            )
            applied = {str(row["name"]) for row in connection.execute(names)}
        if shipped - applied:
            raise Unavailable(f"these migrations are not applied: {', '.join(sorted(shipped - applied))}")
        return f"{len(applied)} migrations applied"

    return _judged("ledger", look, "run `freshet doctor --migrate`")


def _estate(path: Path) -> Diagnosis:
    estate, findings = check_estate(path)
    if estate is None:
        return Diagnosis(
            subject="estate",
            well=False,
            said=f"{path} has {len(findings)} mistakes",
            remedy="run `freshet estate check`",
        )
    return Diagnosis(subject="estate", well=True, said=f"{path}: {len(estate.customers)} customers")
