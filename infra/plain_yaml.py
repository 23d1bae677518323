"""YAML as plain data: what a person writes by hand, and nothing that such a file could be abused for.

Invariant: no aliases, no tags, keys are texts and none is written twice, size and depth are bounded; so
reading takes time and memory in proportion to the text, and what is read is what was written.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from policy.errors import Refused

LARGEST = 1024 * 1024
"""Characters; a file that people write is far smaller."""

DEEPEST = 40
"""Levels of nesting."""


class _TextOnce(yaml.CSafeLoader):
    """Refuses a key that is no text, and one that is written twice in one mapping.

    Plain YAML takes the last of two silently, and reads a column called `no` as false.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be text; words such as on or no in quotes", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, "this key stands here twice; remove one", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def parse(text: str, *, file: str) -> object:
    """The plain data in `text`.

    Args:
        text: the YAML.
        file: how messages call it.

    Raises:
        Refused: it is not YAML, or more than plain data; the message says where, never what.
    """
    if len(text) > LARGEST:
        raise Refused(f"{file}: longer than {LARGEST} characters; split it or remove what does not belong")
    try:
        _bounded(text, file)
        return yaml.load(text, Loader=_TextOnce)  # noqa: S506 - it derives from the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise Refused(f"{file}{where}: {_plain(error.problem)}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Refused(f"{file}: not readable as YAML ({type(error).__name__})") from None


def _bounded(text: str, file: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else "?"
        if isinstance(event, yaml.AliasEvent):
            raise Refused(f"{file}, line {line}: write the value out; aliases are refused")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise Refused(f"{file}, line {line}: nested more than {DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _plain(problem: str | None) -> str:
    words = "".join(c if c.isprintable() else "?" for c in problem or "not readable as YAML")
    return words[:160]
