"""Looks for secrets where none may be: each is a token that stands nowhere else.

Invariant: a token is found in plain, in base64 at any offset, and URL-quoted.
"""

from __future__ import annotations

import base64
import json
import os
import stat
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
        self._forms = {form.encode(): name for name, token in tokens.items() for form in _forms(token)}
        self.places = 0
        self.bytes = 0

    def in_text(self, text: str, place: str) -> list[str]:
        """The secrets that `text` holds."""
        return self.in_bytes(text.encode("utf-8", "replace"), place)

    def in_bytes(self, data: bytes, place: str) -> list[str]:
        """The secrets that `data` hold, whatever they are otherwise."""
        self.places += 1
        self.bytes += len(data)
        return [f"{place}: secret {name}" for form, name in self._forms.items() if form in data]

    def in_folder(self, folder: Path, *, apart: Iterable[Path] = ()) -> list[str]:
        """The secrets in the files below `folder`, without `apart`; one with several names is read once."""
        kept = set(apart)
        found = []
        read: set[tuple[int, int]] = set()
        for path in folder.rglob("*"):
            try:
                told = path.stat()
                if not stat.S_ISREG(told.st_mode) or kept & {path, *path.parents}:
                    continue
                if (told.st_dev, told.st_ino) in read:
                    continue
                data = path.read_bytes()
            except FileNotFoundError:
                # A server that still runs has removed it meanwhile, or the link leads nowhere.
                continue
            read.add((told.st_dev, told.st_ino))
            found += self.in_bytes(data, str(path))
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
