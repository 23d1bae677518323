"""Looks for secrets where none may be: each is a token that stands nowhere else.

Invariant: a token is found in plain, in base64 at any offset, and URL-quoted.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus

LOOKS = "FRESHET_TEST_CANARY_LOOKS"
"""Environment variable: a file that gets a line for each search: how many places, how many secrets found."""


class Canaries:
    """The tokens, in every form in which they could show.

    Args:
        tokens: the secrets by name.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._forms = {form: name for name, token in tokens.items() for form in _forms(token)}
        self.places = 0

    def in_text(self, text: str, place: str) -> list[str]:
        """The secrets that `text` holds."""
        self.places += 1
        return [f"{place}: secret {name}" for form, name in self._forms.items() if form in text]

    def in_folder(self, folder: Path, *, apart: Iterable[Path] = ()) -> list[str]:
        """The secrets in the files below `folder`, leaving out `apart`."""
        kept = set(apart)
        found = []
        for path in folder.rglob("*"):
            if path.is_file() and not kept & {path, *path.parents}:
                found += self.in_text(path.read_bytes().decode("utf-8", "replace"), str(path))
        return found

    def note(self, found: Sequence[str]) -> None:
        """Count this search, if somebody keeps count."""
        looks = os.environ.get(LOOKS)
        if looks:
            with Path(looks).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"places": self.places, "found": len(found)}) + "\n")


def _forms(token: str) -> set[str]:
    raw = token.encode()
    encoded = set()
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + raw)
        # The first and last characters also depend on what stands beside the token.
        inner = whole[4:-4].decode()
        encoded |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {token, quote(token, safe=""), quote(token), quote_plus(token), *encoded}
