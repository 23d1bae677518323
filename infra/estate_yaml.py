"""Reading the estate's file into plain data that still knows its lines.

Invariant: every scalar stays the text that a person wrote (`26.10` is no float, `04:00` no number of seconds,
`no` no boolean), and work and memory are in proportion to the text: no aliases, no tags, bounded depth and
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import yaml

LARGEST = 8 * 1024 * 1024
"""Bytes; an estate of 5,000 customers with three sites each needs about 4 MiB."""

DEEPEST = 20

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Key = str | int


class Plain(str):
    """A scalar written without quotation marks: only such a one may mean something else than text."""

    __slots__ = ()


class YamlError(Exception):
    """The text cannot be read as it must be; the message says what and what to do.

    Attributes:
        line: where, counted from 1.
    """

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


@dataclass(frozen=True)
class Document:
    """The data of one file.

    Attributes:
        value: dictionaries, lists, texts and None.
        starts: the line of every key and item, by the identity of the container that holds it.
        repeated: keys that stand twice in one mapping, as the path to them and the line.
    """

    value: object
    starts: dict[int, dict[Key, int]]
    repeated: list[tuple[tuple[Key, ...], int]] = field(default_factory=list)

    def line(self, path: Sequence[Key]) -> int:
        """The line of the thing at `path`, or of what comes nearest above it."""
        found, here = 1, self.value
        for key in path:
            line = self.starts.get(id(here), {}).get(key)
            if line is None:
                break
            found = line
            here = here[key] if isinstance(here, dict | list) else None  # type: ignore[index]  # a key of the mapping or an index of the list
        return found


@dataclass
class _Open:
    """A mapping or a list that is being read, and where it will go."""

    container: dict[Key, object] | list[object]
    lines: dict[Key, int]
    key: str | None = None
    key_line: int = 0
    filled: Key = 0


def read(content: bytes) -> Document:
    """The data in `content`.

    Raises:
        YamlError: it is too large, not UTF-8, not YAML, or more than plain data.
    """
    if len(content) > LARGEST:
        raise YamlError(1, f"the file is larger than {LARGEST // 1024 // 1024} MiB; is it an estate's file?")
    try:
        return _Reader().read(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise YamlError(line, "the text is not UTF-8; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = "".join(c if c.isprintable() else "?" for c in error.problem or "not YAML")[:120]
        hint = "check indentation, colons and quotation marks there"
        raise YamlError(mark.line + 1 if mark else 1, f"{problem}; {hint}") from None
    except yaml.YAMLError:
        raise YamlError(1, "the text holds characters that YAML does not allow; remove them") from None


class _Reader:
    """Builds the data from the parser's events, so that nothing is expanded and nothing recurses."""

    def __init__(self) -> None:
        self._stack: list[_Open] = []
        self._document = Document(None, {})
        self._root: object = None
        self._begun = False

    def read(self, text: str) -> Document:
        for event in yaml.parse(text, Loader=Loader):
            if isinstance(event, yaml.ScalarEvent):
                self._refuse_tag(event)
                self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._refuse_tag(event)
                self._open(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._stack.pop()
            elif isinstance(event, yaml.AliasEvent):
                raise YamlError(_line(event), "aliases are not accepted; write the value out")
            elif isinstance(event, yaml.DocumentStartEvent):
                if self._begun:
                    raise YamlError(_line(event), "a second document begins here; remove the line '---'")
                self._begun = True
        return Document(self._root, self._document.starts, self._document.repeated)

    def _refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            raise YamlError(_line(event), "tags such as '!!str' are not accepted; write plain values")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        plain = not event.style
        text: str | None = Plain(event.value) if plain else event.value
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.container, dict) and top.key is None:
            top.key, top.key_line = str(event.value), _line(event)
            return
        if plain and event.value in {"", "~", "null", "Null", "NULL"}:
            text = None
        self._put(text, _line(event))

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.container, dict) and top.key is None:
            raise YamlError(_line(event), "a key must be a single word; put it in quotation marks")
        if len(self._stack) >= DEEPEST:
            raise YamlError(_line(event), f"nested more than {DEEPEST} deep; flatten it")
        container: dict[Key, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._put(container, _line(event))
        lines: dict[Key, int] = {}
        self._document.starts[id(container)] = lines
        self._stack.append(_Open(container, lines))

    def _put(self, value: object, line: int) -> None:
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if isinstance(top.container, list):
            top.filled = len(top.container)
            top.lines[top.filled] = line
            top.container.append(value)
            return
        key, top.key = top.key, None
        if key is None:
            raise YamlError(line, "a value without a key; write 'key: value'")
        if key in top.container:
            self._document.repeated.append(((*self._path(), key), top.key_line))
        top.container[key] = value
        top.filled = key
        top.lines[key] = top.key_line

    def _path(self) -> tuple[Key, ...]:
        """Where the container on top of the stack lies; only asked for when something is wrong there."""
        return tuple(outer.filled for outer in self._stack[:-1])


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark else 1
