"""The end of a stream is known by its mark, and an error by its shape, whatever the rows hold."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.postgres import wire
from infra.postgres.identity import checksum
from infra.postgres.server_error import ServerError


def message(kind: bytes, body: bytes) -> bytes:
    return wire.HEADER.pack(kind, len(body) + 4) + body


def ending(mark: wire.EndMark, rows: int) -> bytes:
    column = b"?column?\x00" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
    return (
        wire.COPY_DONE
        + message(b"C", b"COPY %d\x00" % rows)
        + message(b"T", struct.pack("!h", 1) + column)
        + message(b"D", struct.pack("!hi", 1, len(mark.word)) + mark.word.encode())
        + message(b"C", b"SELECT 1\x00")
        + message(b"Z", b"T")
    )


def refusal(text: bytes, *, asides: int = 0) -> bytes:
    body = b"SERROR\x00VERROR\x00C22007\x00M" + text.replace(b"\x00", b"") + b"\x00nsome_key\x00\x00"
    return message(b"E", body) + message(b"S", b"search_path\x00x\x00") * asides + message(b"Z", b"E")


rows = st.lists(
    st.one_of(
        st.binary(max_size=200),
        # Rows that look like what ends a stream.
        st.builds(lambda n: ending(wire.EndMark.draw(), n), st.integers(0, 9)),
        st.builds(refusal, st.binary(max_size=20)),
        st.sampled_from([b"Z\x00\x00\x00\x05E", b"E\x00\x00\x00\x04", wire.COPY_DONE, b"E"]),
    ),
    max_size=8,
)


@given(rows, st.integers(0, 10**9))
def test_the_end_is_found_where_it_is_and_nowhere_before(bodies: list[bytes], count: int) -> None:
    mark = wire.EndMark.draw()
    data = b"".join(message(b"d", body) for body in bodies)
    trailer = mark.trailer()
    for cut in range(len(data) + 1):
        assert trailer.search(data, 0, cut) is None
    whole = data + ending(mark, count)
    found = trailer.search(whole, max(0, len(whole) - wire.LONGEST_TRAILER))
    assert found is not None
    assert found.start() == len(data)
    assert int(found[1]) == count
    for cut in range(len(data), len(whole)):
        assert trailer.search(whole, 0, cut) is None


@given(rows, st.binary(max_size=60), st.integers(0, 2))
def test_an_error_at_the_end_is_read_and_its_words_are_not_kept(
    bodies: list[bytes], words: bytes, asides: int
) -> None:
    tail = b"".join(message(b"d", body) for body in bodies) + refusal(words, asides=asides)
    error = wire.error_at_end(tail)
    assert error is not None
    assert wire.ends_ready(tail)
    assert "22007" in str(error) or any(b"E" in body for body in bodies)


@given(rows)
def test_rows_alone_are_no_error(bodies: list[bytes]) -> None:
    """Rows that end in the middle of a look-alike may be one; then silence decides, never the bytes alone."""
    data = b"".join(message(b"d", body) for body in bodies if b"E" not in body)
    assert wire.error_at_end(data) is None


def test_an_error_tells_its_kind() -> None:
    error = wire.error_at_end(refusal(b'invalid input: "Anna Miller"'))
    assert str(error) == "InvalidDatetimeFormat of constraint 'some_key', SQLSTATE 22007"
    assert error is not None
    assert not error.unavailable
    assert str(ServerError("ZZZZZ")) == "an error, SQLSTATE ZZZZZ"


@pytest.mark.parametrize("state", ["57P01", "08006", "53300"])
def test_a_lost_session_is_told_from_a_wrong_statement(state: str) -> None:
    assert ServerError(state).unavailable


def test_marks_differ() -> None:
    assert len({wire.EndMark.draw().word for _ in range(100)}) == 100


def test_row_counts_are_read() -> None:
    assert wire.rows_copied(b"COPY 12\x00") == 12
    assert wire.rows_copied(b"INSERT 0 1\x00") is None


def test_the_checksum_is_the_standard_one() -> None:
    """Source: RFC 3720, appendix B.4, test vectors."""
    assert checksum(b"123456789") == 0xE3069283
    assert checksum(bytes(32)) == 0x8A9136AA
