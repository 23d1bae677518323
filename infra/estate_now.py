"""The estate as its file declares it now, read again only when a file has changed.

Invariant: what is returned is what the file says at this moment. A file counts as unchanged only when device,
inode, size and both times are the same, and when it had been left alone for a while before it was read: two
changes within one tick of the file system's clock look alike. Mistakes are never remembered.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.estate_file import load_estate
from policy.estate import Estate

SETTLED_NS = 2_000_000_000
"""A file that was changed later than this before it was read is read again the next time."""

Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class _Read:
    path: Path
    stamps: dict[Path, Stamp | None]
    estate: Estate


_last: list[_Read] = []


def estate_now(path: Path) -> Estate:
    """The estate that the file at `path` declares.

    Raises:
        Refused: the file has mistakes; each is a finding with file, line, place and remedy.
    """
    for read in _last:
        if read.path == path and read.stamps == _stamps(read.stamps):
            return read.estate
    began = time.time_ns()
    # Taken before the file is read: a change meanwhile shows as a difference the next time.
    before = _stamp(path)
    estate = load_estate(path)
    stamps = {path: before, **_stamps(path.parent / release.lock for release in estate.releases)}
    _last[:] = [_Read(path, stamps, estate)] if _settled(stamps, began) else []
    return estate


def _stamps(paths: Iterable[Path]) -> dict[Path, Stamp | None]:
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _settled(stamps: dict[Path, Stamp | None], now: int) -> bool:
    return all(stamp is not None and stamp[-1] < now - SETTLED_NS for stamp in stamps.values())
