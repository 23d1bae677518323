"""How much of a busy thing is taken in each minute.

Invariant: two bytes a minute, so that the interpreter's own arithmetic on long numbers adds to a whole
stretch at once, and its own search through bytes finds the next free one. A plan of ten thousand requests
asks some hundred thousand times.
"""

from __future__ import annotations

from functools import lru_cache

MOST = 30_000
"""The largest count; the sixteenth bit is needed for comparing."""
_BIT = 0x8000
_GROWTH = 1440
_HIGH_BIT = bytes(int(byte >= _BIT >> 8) for byte in range(256))


class Minutes:
    """Counts from minute 0 on; whatever was never counted is 0."""

    def __init__(self, capacity: int, counts: bytearray | None = None) -> None:
        self.capacity = capacity
        self._counts = bytearray() if counts is None else counts
        self._full = bytearray(self._at_least(capacity, self._counts))

    def add(self, low: int, high: int, amount: int) -> None:
        """Count `amount` more in each minute from `low` up to `high`."""
        if high > len(self._full):
            more = max(high - len(self._full), _GROWTH)
            self._counts += bytes(2 * more)
            self._full += self._at_least(self.capacity, bytes(2 * more))
        part = int.from_bytes(self._counts[2 * low : 2 * high], "little") + amount * _ones(high - low)
        counts = part.to_bytes(2 * (high - low), "little")
        self._counts[2 * low : 2 * high] = counts
        self._full[low:high] = self._at_least(self.capacity, counts)

    def copy(self, low: int, high: int) -> Minutes:
        """The minutes from `low` up to `high` on their own."""
        counts = self._counts[2 * low : 2 * high]
        return Minutes(self.capacity, counts + bytes(2 * (high - low) - len(counts)))

    def first_free(self, start: int, length: int, amount: int, limit: int) -> int | None:
        """The first minute from `start` to `limit` from which `amount` is free for `length` minutes."""
        offset, full = 0, self._full
        if amount != 1:
            offset = start
            full = bytearray(
                self._at_least(self.capacity - amount + 1, self._counts[2 * start : 2 * (limit + length)])
            )
        found = first_clear(full, start - offset, length, limit - offset)
        return None if found is None else found + offset

    def exceeds(self, low: int, high: int) -> bool:
        """Whether more than the capacity is taken in some minute from `low` up to `high`."""
        return 1 in self._at_least(self.capacity + 1, self._counts[2 * low : 2 * high])

    @staticmethod
    def _at_least(level: int, counts: bytes | bytearray) -> bytes:
        """One byte a minute: 1 where the count is `level` or more."""
        minutes = len(counts) // 2
        compared = int.from_bytes(counts, "little") + (_BIT - level) * _ones(minutes)
        return compared.to_bytes(2 * minutes, "little")[1::2].translate(_HIGH_BIT)


def first_clear(marks: bytes | bytearray, start: int, length: int, limit: int) -> int | None:
    """The first position from `start` to `limit` with no mark of 1 in the `length` bytes from it on."""
    while start <= limit:
        taken = marks.rfind(1, start, start + length)
        if taken < 0:
            return start
        following = marks.find(0, taken + 1)
        start = following if following >= 0 else len(marks)
    return None


@lru_cache(maxsize=1024)
def _ones(minutes: int) -> int:
    """A 1 in each of so many minutes."""
    return int.from_bytes(b"\x01\x00" * minutes, "little")
