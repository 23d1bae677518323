"""Files of data directories: how much they take, and whether copies of them can share their blocks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from pathlib import Path

FICLONE = 0x40049409


def size(folder: Path) -> int:
    """Bytes on disk below `folder`; files that vanish meanwhile do not count."""
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found = (Path(here) / name).lstat()
                total += found.st_blocks * 512 if stat.S_ISREG(found.st_mode) else 0
    return total


def can_clone(folder: Path) -> bool:
    """Whether files in `folder` can share their blocks; found out by trying."""
    with tempfile.TemporaryFile(dir=str(folder)) as one, tempfile.TemporaryFile(dir=str(folder)) as other:
        one.write(b"\0" * 4096)
        one.flush()
        try:
            fcntl.ioctl(other.fileno(), FICLONE, one.fileno())
        except OSError:
            return False
        return True


def sync(folder: Path) -> None:
    """Make names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
