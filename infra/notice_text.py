"""Turns a notice into words: one template for each kind of news, in `infra/templates`.

Invariant: a template that names a value which the notice does not have is an error, never a gap; text that
people wrote stays within its place: one line in a sentence, quoted lines in a block, and no control
character anywhere, so that it can neither begin a header nor pass for a part of the notice.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from policy.errors import Refused
from policy.notice import NoticeKind, Value

TEMPLATES = Path(__file__).parent / "templates"
LONGEST_LINE = 600
LONGEST_BLOCK = 4000
LONGEST_SUBJECT = 180
BLOCKS = frozenset({"question", "answer", "follow_up"})
"""Values that may have several lines; each line is quoted."""


class Text(NamedTuple):
    """A notice in words."""

    subject: str
    body: str


def notice_text(kind: NoticeKind, values: Mapping[str, Value]) -> Text:
    """The subject and the body of a notice of `kind`.

    Raises:
        Refused: its template is not there, or names a value that the notice does not have.
    """
    clean = {name: _clean(name, value) for name, value in values.items()}
    try:
        rendered = _environment().get_template(f"{kind.value}.txt").render(clean)
    except TemplateError as error:
        raise Refused(f"notice {kind.value}: its template cannot be filled: {error}; mend it") from error
    head, _, body = rendered.partition("\n")
    if not head.startswith("Subject: "):
        raise Refused(f"notice {kind.value}: the first line of its template must begin with 'Subject: '")
    subject = one_line(head.removeprefix("Subject: "), LONGEST_SUBJECT)
    return Text(subject, re.sub(r"\n{3,}", "\n\n", body.strip("\n")) + "\n")


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """`text` on one line, without control characters, cut to `longest`."""
    line = " ".join(_printable(text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _clean(name: str, value: Value) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, tuple | list):
        return tuple(one_line(line) for line in value)
    if name in BLOCKS and value:
        block = _printable(value.replace("\r\n", "\n"))[:LONGEST_BLOCK].strip()
        return "\n".join(f"> {line}".rstrip() for line in block.split("\n"))
    return one_line(value)


def _printable(text: str) -> str:
    return "".join(
        "" if unicodedata.category(c) in {"Cc", "Cs", "Cf"} and c not in "\n\u200c\u200d" else c
        for c in re.sub(r"[\t\x0b\x0c\r\x85\u2028\u2029]", " ", text)
    )


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
