"""The fields of a request message that need more than a type: its time, its zone and its note.

Invariant: what is returned is valid by itself; whether the time is past or falls into a gap of the zone is
decided where the wish is judged, because that takes a clock.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from policy.errors import Refused

_AT = re.compile(
    r"20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?P<offset>Z|[+-][0-9]{2}:[0-9]{2})?"
)
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make text read otherwise than it is written; a note is shown to people."""


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"Factory", "localtime"})


def zone_of(text: str | None) -> ZoneInfo | None:
    """The time zone called `text`.

    Raises:
        Refused: there is none of that name.
    """
    if text is None:
        return None
    if text not in _zones():
        raise Refused("zone: it is not an IANA time zone; write it like America/Chicago")
    return ZoneInfo(text)


def time_of(text: str | None, zone: str | None) -> datetime | None:
    """The time written as `text`: naive when it is meant in `zone`, aware when it has an offset.

    Raises:
        Refused: it is none, or it has both an offset and a zone, or neither.
    """
    if text is None:
        return None
    form = "write it like 2026-11-22T02:00, with a zone, or like 2026-11-22T02:00-06:00"
    match = _AT.fullmatch(text)
    if match is None:
        raise Refused(f"at: it is not a date and time; {form}")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"at: there is no such date or time; {form}") from None
    if match["offset"] is None and zone is None:
        raise Refused("at: it has neither an offset nor a zone; add the zone in which it is meant")
    if match["offset"] is not None and zone is not None:
        raise Refused("at: it has an offset and there is a zone as well; leave one of the two out")
    return at


def note_of(text: str) -> str:
    """The note `text` with one kind of line end.

    Raises:
        Refused: it holds characters that terminals, mails or databases would not show as text.
    """
    text = text.replace("\r\n", "\n")
    if any((unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t") or c in _BIDI for c in text):
        raise Refused("note: it holds control characters; remove them")
    return text
