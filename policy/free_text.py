"""Words that people write for other people: a reason, a question, an answer, a note.

Invariant: text that exists here is printable, not empty where it must say something, and short enough for a
mail; how it is set in a mail or a page is decided there.
"""

from __future__ import annotations

import unicodedata

from policy.errors import Refused

MOST = 2000
"""As long as a note in a request message may be."""

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make text read otherwise than it is written."""


def free_text(text: str, field: str, *, required: bool = True) -> str:
    """The words `text`, with one kind of line end and without space around them.

    Args:
        text: as it was written.
        field: what it is called at the door.
        required: it must say something.

    Raises:
        Refused: it is empty, too long, or holds characters that are no text.
    """
    words = text.replace("\r\n", "\n").strip()
    if required and not words:
        raise Refused(f"{field}: it is empty; write it in your own words, the people concerned read it")
    if len(words) > MOST:
        raise Refused(f"{field}: it has {len(words)} characters; write at most {MOST}")
    if any((unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t") or c in _BIDI for c in words):
        raise Refused(f"{field}: it holds control characters; remove them")
    return words
