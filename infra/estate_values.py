"""The checks of single values in the estate's file, each from the text that was written.

Invariant: a check returns the finished value or raises ValueError with "problem; remedy", which never repeats
more than sixty printable characters of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from infra.estate_yaml import Plain
from policy.errors import Refused
from policy.names import Name

AnyName = TypeVar("AnyName", bound=Name)
AnyWord = TypeVar("AnyWord", bound=StrEnum)
_LENGTH = re.compile(r"(?:(\d{1,3})h)?(?:(\d{1,3})m)?")
_YAML_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_YAML_FLOAT = re.compile(r"[-+]?[0-9]{1,17}\.[0-9]{1,17}")
LONGEST_WINDOW = timedelta(days=7)


def text_of(value: object) -> str:
    """The text `value`.

    Raises:
        ValueError: it is none, or empty, or longer than a line.
    """
    if not isinstance(value, str):
        raise ValueError("this is a list, a mapping or nothing; write one value")  # noqa: TRY004 - pydantic's
    if not value.strip() or len(value) > 500 or not value.isprintable():  # noqa: PLR2004 - longer than any line
        raise ValueError("the text is empty, very long or of several lines; write one line")
    return str(value)


def shown(text: str) -> str:
    """At most sixty printable characters of `text`."""
    return "".join(c if c.isprintable() else "?" for c in text[:60])


def name(kind: type[AnyName]) -> Callable[[object], AnyName]:
    """A check that builds a `kind`."""

    def build(value: object) -> AnyName:
        try:
            return kind(text_of(value))
        except Refused as error:
            raise ValueError(str(error)) from None

    return build


def word(kind: type[AnyWord]) -> Callable[[object], AnyWord]:
    """A check that knows the words of `kind`."""

    def build(value: object) -> AnyWord:
        text = text_of(value)
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"'{shown(text)}' is not known; write one of {', '.join(kind)}") from None

    return build


def number(low: int, high: int) -> Callable[[object], int]:
    """A check for a whole number of the range."""

    def build(value: object) -> int:
        text = text_of(value)
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):  # noqa: PLR2004 - fits in 32 bits
            raise ValueError(f"'{shown(text)}' does not fit; write a whole number from {low} to {high}")
        return int(text)

    return build


def flag(value: object) -> bool:
    """Whether `value` says true."""
    text = text_of(value)
    if text not in {"true", "false"}:
        raise ValueError(f"'{shown(text)}' is neither; write true or false")
    return text == "true"


def zone(value: object) -> ZoneInfo:
    """The IANA time zone called `value`."""
    text = text_of(value)
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone '{shown(text)}'; write an IANA name such as America/Chicago"
        ) from None


def clock_time(value: object) -> time:
    """A local time of day."""
    text = text_of(value)
    if not re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError(f"'{shown(text)}' is no time of day; write it as 04:00")
    return time(int(text[:2]), int(text[3:]))


def length(value: object) -> timedelta:
    """How long a window stays open."""
    text = text_of(value)
    found = _LENGTH.fullmatch(text)
    length = timedelta(hours=int(found[1] or 0), minutes=int(found[2] or 0)) if found else timedelta()
    if not timedelta() < length <= LONGEST_WINDOW:
        raise ValueError(f"'{shown(text)}' is no length of up to 168h; write it as 5h, 45m or 3h30m")
    return length


def day(value: object) -> date:
    """A calendar date."""
    text = text_of(value)
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(f"'{shown(text)}' is no date; write it as 2026-11-22")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"'{shown(text)}' is not in the calendar; correct the date") from None


def address(value: object) -> str:
    """A host name or IP address."""
    text = text_of(value)
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,250})", text):
        raise ValueError(f"'{shown(text)}' is no host name or address; write it without scheme and port")
    return text


def url(value: object) -> str:
    """A site's address, without a path."""
    text = text_of(value)
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.path or parts.query or parts.fragment or "@" in parts.netloc or " " in text:
        raise ValueError(f"'{shown(text)}' is no address of a site; write it as https://host.example.org")
    return text


def connection(value: object) -> str:
    """How Ansible reaches a host."""
    text = text_of(value)
    if text not in {"local", "ssh"}:
        raise ValueError(f"'{shown(text)}' is not known; write local or ssh")
    return text


def digest(value: object) -> str:
    """The SHA-256 of a file."""
    text = text_of(value)
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("this is no SHA-256; write the 64 lower-case digits that `sha256sum` prints")
    return text


def identifier(value: object) -> str:
    """A PostgreSQL cluster's own identity."""
    text = text_of(value)
    if not re.fullmatch(r"[1-9][0-9]{5,19}", text):
        raise ValueError("this is no system identifier; write what pg_control_system() tells there")
    return text


def _variables(value: object) -> object:
    """Plain data for Ansible, with unquoted numbers and booleans as such."""
    if isinstance(value, dict):
        return {str(key): _variables(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_variables(item) for item in value]
    if isinstance(value, Plain):
        return _unquoted(value)
    return value


def _unquoted(text: str) -> object:
    if text in {"true", "false"}:
        return text == "true"
    if _YAML_INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _YAML_FLOAT.fullmatch(text) else str(text)


def variables_mapping(value: object) -> Mapping[str, object]:
    """What a role is given."""
    if not isinstance(value, dict):
        raise ValueError("this is no mapping; write 'variable: value', one a line")  # noqa: TRY004 - pydantic's
    return {str(key): _variables(item) for key, item in value.items()}
