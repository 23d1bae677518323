"""The named transformers: what each makes of a value, which types it takes, and whether unique stays unique.

Invariant: a transformer that says `distinct` carries at least 64 bits of the keyed hash wherever it fits, so
unequal values stay unequal: among n values the chance of any collision is below n²/2⁶⁵ (10 million values:
3 in a million), and for `email` (80 bits) and `token` (128 bits) far below that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Family(StrEnum):
    """Groups of PostgreSQL types that are masked alike."""

    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"
    INTEGER = "integer"
    NUMBER = "number"
    UUID = "uuid"
    NETWORK = "network"
    JSON = "json"
    ARRAY = "array"
    OTHER = "other"


class Mask(StrEnum):
    """The transformers, as written in `protection.yml`."""

    EMAIL = "email"
    PHONE = "phone"
    POSTCODE = "postcode"
    DATE_WITHIN_YEAR = "date_within_year"
    GIVEN_NAME = "given_name"
    FAMILY_NAME = "family_name"
    FULL_NAME = "full_name"
    STREET = "street"
    FREE_TEXT = "free_text"
    NUMBER = "number"
    UUID = "uuid"
    TOKEN = "token"  # noqa: S105 - the name of a mask
    IP_ADDRESS = "ip_address"
    FIXED = "fixed"


@dataclass(frozen=True, kw_only=True)
class MaskFacts:
    """What a policy must know about a transformer.

    Attributes:
        takes: the families of types it can be used on.
        distinct: unequal values stay unequal, so it may stand on a unique column.
        shortest: the least length a text column must have for a valid result.
        shortest_unique: the same on a unique column.
    """

    takes: frozenset[Family]
    distinct: bool = False
    shortest: int = 1
    shortest_unique: int = 1


UNIQUE_DIGITS = 16
"""Hexadecimal digits of the hash that a unique column needs at least: 64 bits."""

_TEXT = frozenset({Family.TEXT})

FACTS = MappingProxyType(
    {
        # Lengths are for the default domain example.org: u, the digits, @ and 11 characters.
        Mask.EMAIL: MaskFacts(takes=_TEXT, distinct=True, shortest=21, shortest_unique=29),
        Mask.PHONE: MaskFacts(takes=_TEXT, shortest=15),
        Mask.POSTCODE: MaskFacts(takes=_TEXT, shortest=5),
        Mask.DATE_WITHIN_YEAR: MaskFacts(
            takes=frozenset({Family.DATE, Family.TIMESTAMP, Family.TEXT}), shortest=10
        ),
        Mask.GIVEN_NAME: MaskFacts(takes=_TEXT),
        Mask.FAMILY_NAME: MaskFacts(takes=_TEXT),
        Mask.FULL_NAME: MaskFacts(takes=_TEXT),
        Mask.STREET: MaskFacts(takes=_TEXT),
        Mask.FREE_TEXT: MaskFacts(takes=_TEXT),
        Mask.NUMBER: MaskFacts(takes=frozenset({Family.INTEGER, Family.NUMBER, Family.TEXT})),
        Mask.UUID: MaskFacts(
            takes=frozenset({Family.UUID, Family.TEXT}), distinct=True, shortest=36, shortest_unique=36
        ),
        Mask.TOKEN: MaskFacts(takes=_TEXT, distinct=True, shortest=4, shortest_unique=UNIQUE_DIGITS),
        Mask.IP_ADDRESS: MaskFacts(
            takes=frozenset({Family.NETWORK, Family.TEXT}), distinct=True, shortest=39
        ),
        Mask.FIXED: MaskFacts(takes=frozenset(Family) - {Family.ARRAY}),
    }
)

DEFAULT_DOMAIN = "example.org"
"""Reserved for documentation (RFC 2606): nobody's mailbox."""

DEFAULT_PATTERNS = MappingProxyType({Mask.PHONE: "+1-2##-555-01##", Mask.POSTCODE: "#####"})
"""Each `#` becomes a digit. +1 … 555-01xx is the range set aside for fiction."""

PATTERN = re.compile(r"(?=[^#]*#)[0-9A-Za-z+()/.# -]{1,40}")
"""What `like` may hold; at most 15 `#`, checked where it is read."""

DOMAIN = re.compile(r"(?=.{4,60}\Z)[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,20}")
"""What `domain` may hold."""
