"""Turns a right file into wrong ones without end, the same for the same seed.

Invariant: nothing here knows what is right; some of what it makes still is.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator

NASTY = (
    "", "null", "~", "true", "no", "0", "-1", "1e309", "9" * 400, "0x10", "1_000", ".inf", ".nan", "[]", "{}",
    "[[[[[]]]]]", "{a: {b: {c: {}}}}", "'", '"', "''", "&a [*a]", "*a", "!!python/object:os.system x",
    "!!binary aGk=", "<<", "../../etc/passwd", "/", "'; DROP TABLE run; --", "$(id)", "{{ 7 * 7 }}", "%s%s%n",
    "lakeside", "Production", "2026-02-30", "2026-11-22", "24:61", "25h", "-5h", "99999999999h", "Mars/Base",
    "America/Chicago", "a@b", "a@b.example.org\\nBcc: x@y.example.org", "\u202eabc", "\x00", "\ud800", "９９",
    "é" * 70, "x" * 5000, "|", "> ", "? ", ": ", "- -", "# ", "\t", "\r\n", "---", "...", "%YAML 1.1",
    "1.0.0", "1.0", "01.2", "v1", "1!2", "1.0\n", "http://127.0.0.1", "file:///etc/shadow", "https://[::1",
    "65536",
)  # fmt: skip
ALPHABET = string.printable + "\0\u202e\ud800é漢🙂"
_SCALAR = re.compile(r"(?<=: )[^\s,{}\[\]]+|(?<=\[)[^\s,\]]+")


def mutations(good: str, seed: int) -> Iterator[str]:
    """Texts that are `good` with up to three changes each."""
    dice = random.Random(seed)  # noqa: S311 - inputs, not secrets
    while True:
        text = good
        for _ in range(dice.randrange(1, 4)):
            text = _changed(text, dice)
        yield text


def _changed(text: str, dice: random.Random) -> str:
    at = dice.randrange(len(text) + 1)
    match dice.randrange(10):
        case 0:
            text = _lines(text, dice)
        case 1:
            text = text[:at] + dice.choice(ALPHABET) + text[at + dice.randrange(3) :]
        case 2:
            text = text[:at]
        case 3:
            text = text[:at] + dice.choice(NASTY) + text[at:]
        case 4:
            text = text[:at] + dice.choice("[{-:\n ") * dice.randrange(1, 200) + text[at:]
        case 5:
            word = dice.choice(["name", "id", "keep", "site", "live", "1"])
            text = re.sub(rf"\b{word}", "x", text, count=1)
        case _:
            text = _scalar(text, dice)
    return text


def _scalar(text: str, dice: random.Random) -> str:
    found = list(_SCALAR.finditer(text))
    if not found:
        return text
    one = dice.choice(found)
    by = dice.choice(found).group() if dice.random() < 0.4 else dice.choice(NASTY)
    return text[: one.start()] + by + text[one.end() :]


def _lines(text: str, dice: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    at = dice.randrange(len(lines))
    match dice.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(dice.randrange(len(lines)), lines[at])
        case 2:
            lines[at] = " " * dice.randrange(9) + lines[at].lstrip()
        case _:
            lines[at] = lines[at].rstrip("\n")
    return "".join(lines)
