"""Whether a copy of a stopped server's files is whole: the same files, the same bytes, every page readable.

Invariant: only reads; a copy that is not whole is told by the first thing in it that is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.postgres_programs import ServerError, control, run

BLOCK = 1 << 20
CHECKED = ("base/", "global/")
"""Where files consist of pages with checksums, if the server has checksums at all."""
STOPPED = "shut down"


def state_of(programs: Path, data: Path) -> str:
    """How the server of `data` ended, in the words of its control file."""
    return control(programs, data).get("Database cluster state", "unknown")


def has_checksums(programs: Path, data: Path) -> bool:
    """Whether the server's pages have checksums, and a program to verify them is there."""
    version = control(programs, data).get("Data page checksum version", "0")
    return version != "0" and (programs / "pg_checksums").is_file()


def below(folder: Path) -> Iterator[Path]:
    """Everything below `folder`; links are not followed."""
    for here, folders, names in os.walk(folder):
        for name in (*folders, *names):
            yield Path(here) / name


def compare(programs: Path, original: Path, copy: Path) -> None:
    """Fail unless `copy` is what the stopped server's `original` is, file by file."""
    if control(programs, original) != control(programs, copy):
        raise ServerError(f"the control file in {copy} is another than in {original}")
    names, copied = ({str(path.relative_to(root)) for path in below(root)} for root in (original, copy))
    if names != copied:
        odd = ", ".join(sorted(names ^ copied)[:3])
        raise ServerError(f"the copy {copy} does not hold the same files: {odd}")
    checked = CHECKED if has_checksums(programs, original) else ()
    for name in sorted(names):
        path = original / name
        if not path.is_file():
            continue
        if path.stat().st_size != (copy / name).stat().st_size:
            raise ServerError(f"the copy {copy} has another size of {name}")
        # Pages carry their own checksums, which are verified when the copy is read.
        if not name.startswith(checked):
            same(path, copy / name)


def same(one: Path, other: Path) -> None:
    """Fail unless two files hold the same bytes."""
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            block = left.read(BLOCK)
            if block != right.read(BLOCK):
                raise ServerError(f"{other} holds other bytes than {one}")
            if not block:
                return


def read(programs: Path, copy: Path, *, prefix: list[str], timeout_s: float) -> None:
    """Read all of `copy`, and verify the checksums of its pages where it has some."""
    state = state_of(programs, copy)
    if state != STOPPED:
        raise ServerError(f"{copy} is no copy of a server that had ended well ({state})")
    if has_checksums(programs, copy):
        run(prefix, str(programs / "pg_checksums"), "--check", "--pgdata", str(copy), timeout_s=timeout_s)
        return
    for path in below(copy):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(BLOCK):
                    pass
