"""A cluster's own identity: a physical copy carries Production's, and must not be mistaken for it.

Invariant: the control file is only written when its checksum was found where it belongs, and ends with a
right one; the write-ahead log of before, in which rows stand as they were, is gone afterwards.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

from infra.stack.unprivileged import prefix
from policy.errors import StepFailed

_CONTROL = Path("global") / "pg_control"
_IDENTIFIER_BYTES = 8
_SHORTEST, _LONGEST = 128, 512
_POLYNOMIAL = 0x82F63B78


def renew_identity(data: Path, programs: Path) -> str:
    """Give the stopped cluster in `data` a new system identifier and a new, empty write-ahead log.

    Raises:
        StepFailed: the control file is not as PostgreSQL writes it, or pg_resetwal refused.
    """
    path = data / _CONTROL
    control = bytearray(path.read_bytes())
    place = _checksum_place(control)
    control[:_IDENTIFIER_BYTES] = secrets.randbits(63).to_bytes(_IDENTIFIER_BYTES, "little")
    control[place : place + 4] = checksum(bytes(control[:place])).to_bytes(4, "little")
    with path.open("r+b") as file:
        file.write(control)
        file.flush()
        os.fsync(file.fileno())
    done = subprocess.run(
        [*prefix(), str(programs / "pg_resetwal"), "--pgdata", str(data)],
        capture_output=True, text=True, check=False, cwd="/", env={"LC_ALL": "C", "PATH": os.defpath},
    )  # fmt: skip
    if done.returncode != 0:
        raise StepFailed(f"pg_resetwal failed: {done.stderr.strip()[:200]}")
    return str(int.from_bytes(path.read_bytes()[:_IDENTIFIER_BYTES], "little"))


def _checksum_place(control: bytes | bytearray) -> int:
    """Where the checksum over all that precedes it stands; it differs between versions."""
    for place in range(_SHORTEST, min(_LONGEST, len(control) - 4), 4):
        if checksum(bytes(control[:place])) == int.from_bytes(control[place : place + 4], "little"):
            return place
    raise StepFailed("the control file's checksum was not found; is it of a PostgreSQL that Freshet knows?")


def checksum(data: bytes) -> int:
    """CRC-32C, as PostgreSQL computes it. Source: RFC 3720, appendix B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
