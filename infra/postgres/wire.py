"""The few messages of PostgreSQL's protocol that a carrier of COPY data must know.

Source: PostgreSQL documentation, "Frontend/Backend Protocol", "Message Formats" (version 3.0). Each message
is a type byte and a length that counts itself; COPY data travel in the same message in both directions, which
is what lets a carrier hand on a stream without looking inside.

Invariant: where a stream ends is known from an end mark that nobody could foresee, never guessed from its
bytes.
"""

from __future__ import annotations

import re
import secrets
import struct
from dataclasses import dataclass

from infra.postgres.server_error import ServerError

HEADER = struct.Struct("!ci")
COPY_DONE = b"c\x00\x00\x00\x04"
END_MARK_BYTES = 16
LONGEST_TRAILER = 300
"""More than the bytes of everything that follows the data of a COPY that went well."""

_READY_BYTES = 6
_ASIDES = frozenset({b"S", b"N", b"A"})
_FAILED_READY = re.compile(rb"Z\x00\x00\x00\x05[EIT]\Z")
_COPIED = re.compile(rb"COPY (\d+)\x00")


def query(statement: bytes) -> bytes:
    """A simple-protocol query."""
    return HEADER.pack(b"Q", len(statement) + 5) + statement + b"\x00"


@dataclass(frozen=True)
class EndMark:
    """A word that the source says after the data, chosen when the data were already fixed by a snapshot."""

    word: str

    @classmethod
    def draw(cls) -> EndMark:
        """A new one."""
        return cls(secrets.token_hex(END_MARK_BYTES))

    def statement(self) -> bytes:
        """What makes the source say it."""
        return f"SELECT '{self.word}'".encode()

    def trailer(self) -> re.Pattern[bytes]:
        """What follows the data of a COPY that went well: its end, its row count, and the mark."""
        count = 2 * END_MARK_BYTES
        return re.compile(
            rb"c\x00\x00\x00\x04C\x00\x00\x00.COPY (\d+)\x00"
            rb"T\x00\x00\x00.\x00\x01[^\x00]*\x00.{18}"
            rb"D\x00\x00\x00.\x00\x01\x00\x00\x00" + re.escape(bytes([count])) + self.word.encode() +
            rb"C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05.\Z",
            re.DOTALL,
        )  # fmt: skip


def error_in(body: bytes) -> ServerError:
    """The error in the body of an ErrorResponse."""
    fields = {
        part[:1]: part[1:].decode("utf-8", errors="replace") for part in body.split(b"\x00") if len(part) > 1
    }
    return ServerError(fields.get(b"C", "XX000"), fields.get(b"n"))


def rows_copied(answer: bytes) -> int | None:
    """The row count in a CommandComplete of COPY."""
    found = _COPIED.fullmatch(answer)
    return int(found[1]) if found else None


def ends_ready(tail: bytes) -> bool:
    """Whether `tail` could end with the server being ready again: needed, not enough, to see a failure."""
    return _FAILED_READY.search(tail) is not None


def error_at_end(tail: bytes) -> ServerError | None:
    """The error with which `tail` ends: its message, and then nothing but asides up to "ready" or the end.

    An aside is a notice, or a setting that goes back to what it was when the transaction failed.
    """
    place = tail.find(b"E")
    while place >= 0:
        end = _after(tail, place)
        while end is not None and end < len(tail) and tail[end : end + 1] in _ASIDES:
            end = _after(tail, end)
        if end == len(tail) or (end is not None and end == len(tail) - _READY_BYTES and ends_ready(tail)):
            return error_in(tail[place + 5 : _after(tail, place)])
        place = tail.find(b"E", place + 1)
    return None


def _after(tail: bytes, place: int) -> int | None:
    """Where the message at `place` ends, if there can be one."""
    if place + HEADER.size > len(tail):
        return None
    length = int.from_bytes(tail[place + 1 : place + 5], "big")
    end = place + 1 + length
    return end if length >= 4 and end <= len(tail) else None  # noqa: PLR2004 - the length counts itself
