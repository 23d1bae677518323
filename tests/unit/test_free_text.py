"""What people write for people: bounded, printable, and never empty where it must say something."""

from __future__ import annotations

import pytest

from policy.errors import Refused
from policy.free_text import MOST, free_text


def test_text_is_kept_as_it_was_meant() -> None:
    assert free_text("  Größe ✓,\r\nsecond line\t. ", "note") == "Größe ✓,\nsecond line\t."
    assert free_text(" \n", "note", required=False) == ""
    assert free_text("x" * MOST, "note") == "x" * MOST


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("\r\n ", "it is empty"),
        ("x" * (MOST + 1), "write at most 2000"),
        ("bell \x07", "control characters"),
        ("\x1b[2J", "control characters"),
        ("a\rb", "control characters"),
        ("nul \x00", "control characters"),
        ("\ud800", "control characters"),
        ("left \u202e right", "control characters"),
    ],
)
def test_what_is_no_text_is_refused_by_its_field(text: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        free_text(text, "reason")
    assert str(refused.value).startswith("reason: ")
    assert why in str(refused.value)
    assert text.strip() not in str(refused.value) or not text.strip()
