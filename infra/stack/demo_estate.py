"""The demo estate: rendered with this stack's ports and the clusters' pinned identities.

Invariant: a file that a person edited is never overwritten.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from infra.stack.layout import PROJECT, Layout
from infra.stack.ports import Ports
from policy.names import CustomerName

CUSTOMERS = (CustomerName("lakeside"), CustomerName("harbor"))
_FOLDER = PROJECT / "demo"
_MARK = "# Rendered by `freshet up`; edit it and `up` leaves it as it is. Digest of what follows: "


def render(layout: Layout, ports: Ports, identities: Mapping[str, str]) -> bool:
    """Write the estate's file, unless a person has edited it.

    Args:
        layout: where it goes.
        ports: of the database servers and the sites.
        identities: the system identifier of each cluster, by name.

    Returns:
        Whether the file is as rendered now.
    """
    if layout.estate.exists() and _edited(layout.estate.read_text(encoding="utf-8")):
        return False
    template = Environment(
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML, and every value is a number or a path of this stack
    ).get_template("estate.yaml.j2")
    text = template.render(
        ports=ports,
        identities=identities,
        releases=os.path.relpath(PROJECT / "releases", layout.estate.parent),
        state=str(layout.state),
        supervisor_config=str(layout.supervisor_config),
    )
    _write(layout.estate, f"{_MARK}{_digest(text)}\n{text}")
    return True


def _edited(text: str) -> bool:
    first, _, rest = text.partition("\n")
    return first != _MARK + _digest(rest)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
