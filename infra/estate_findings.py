"""Mistakes in the estate's file, each with its place and its remedy.

Invariant: a finding shows where to look and what to do, and at most sixty printable characters of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from infra.estate_values import shown
from infra.estate_yaml import Document, Key

AnyShape = TypeVar("AnyShape", bound=BaseModel)
SHOWN = 8
"""How many known names a message lists."""


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """One mistake.

    Attributes:
        path: where in the data, such as `customers.lakeside.sites.sandbox.server`.
    """

    file: str
    line: int
    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}: {place}{self.problem}; {self.remedy}"


@dataclass
class Findings:
    """Collects mistakes while the file is read."""

    file: Path
    document: Document
    found: list[Finding] = field(default_factory=list)

    def add(self, path: Sequence[Key], problem: str, remedy: str) -> None:
        """One more mistake, at `path`."""
        self.found.append(
            Finding(
                file=str(self.file),
                line=self.document.line(path),
                path=written(path),
                problem=problem,
                remedy=remedy,
            )
        )

    def repeated(self, path: Sequence[Key], line: int) -> None:
        """A key that stands twice; the second one, at `line`, is what counts nowhere."""
        self.found.append(
            Finding(
                file=str(self.file),
                line=line,
                path=written(path),
                problem="this key stands here twice",
                remedy="remove one of the two",
            )
        )

    def shape(self, shape: type[AnyShape], value: object, path: Sequence[Key]) -> AnyShape | None:
        """The part at `path` as a `shape`, or None and its mistakes."""
        try:
            return shape.model_validate(value)
        except ValidationError as error:
            for entry in error.errors(include_input=False, include_url=False):
                self._of_pydantic(shape, [*path, *entry["loc"]], entry, entry["loc"])
            return None

    def key(self, check: Callable[[object], object], key: str, path: Sequence[Key]) -> bool:
        """Whether `key` may stand there."""
        try:
            check(key)
        except ValueError as error:
            self.add([*path, key], *_halves(str(error)))
            return False
        return True

    def reference(self, known: Iterable[str], given: str, what: str, path: Sequence[Key]) -> bool:
        """Whether `given` names something that the file declares."""
        names = known if isinstance(known, Mapping | set | frozenset) else set(known)
        if given in names:
            return True
        self.add(path, f"there is no {what} '{shown(given)}'", _instead(given, names, what))
        return False

    def _of_pydantic(
        self,
        shape: type[BaseModel],
        path: Sequence[Key],
        entry: ErrorDetails,
        inside: Sequence[Key],
    ) -> None:
        kind = entry["type"]
        if kind == "missing":
            self.add(path, "is missing", f"add '{path[-1]}: …'; docs/guide/estate.md shows an example")
        elif kind == "extra_forbidden":
            known = set(_within(shape, inside[:-1]).model_fields)
            self.add(path, "this key is not known", _instead(str(path[-1]), known, "key"))
        elif kind == "value_error":
            self.add(path, *_halves(str(entry["ctx"]["error"])))
        elif kind == "list_type":
            self.add(path, "this is no list", "write '[one, two]', or one item a line after '- '")
        elif kind in {"dict_type", "model_type", "model_attributes_type"}:
            self.add(path, "this is no mapping", "write 'key: value', one a line and indented")
        else:
            self.add(path, "this value does not fit", f"see docs/guide/estate.md ({kind})")


def written(path: Sequence[Key]) -> str:
    """`path` as people write it: `releases[2].sha256`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key):
            text += f".{key}"
        else:
            text += f"['{shown(key)}']"
    return text.removeprefix(".")


def _instead(given: str, known: Iterable[str], what: str) -> str:
    names = sorted(known)
    close = get_close_matches(given, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{shown(close[0])}'?"
    if not names:
        return f"declare a {what} first"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"known here: {', '.join(map(shown, names[:SHOWN]))}{more}"


def _halves(message: str) -> tuple[str, str]:
    problem, _, remedy = message.partition("; ")
    return problem, remedy or "correct it"


def _within(shape: type[BaseModel], inside: Sequence[Key]) -> type[BaseModel]:
    """The model at `inside` of `shape`: a part may hold another part, such as a server its log-ins."""
    for key in inside:
        annotation = shape.model_fields[str(key)].annotation if isinstance(key, str) else None
        choices = [annotation, *get_args(annotation)]
        shape = next(c for c in choices if isinstance(c, type) and issubclass(c, BaseModel))
    return shape
