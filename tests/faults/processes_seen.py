"""Looks at every process of this machine, again and again: at its command line and its environment.

Invariant: what was seen is kept as it was; whoever asks what stands in it does so afterwards. Environments of
other users can only be read by root.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

EVERY_S = 0.2


class ProcessesSeen:
    """Everything that processes carried while the block ran.

    Attributes:
        lines: command lines, each once.
        environments: environments, each once.
        looks: how often all processes were looked at.
    """

    def __init__(self) -> None:
        self.lines: set[bytes] = set()
        self.environments: set[bytes] = set()
        self.looks = 0
        self._gone = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="processes-seen")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._gone.is_set():
            began = time.monotonic()
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit():
                    # It has ended meanwhile, or is somebody else's.
                    with suppress(OSError):
                        self.lines.add((folder / "cmdline").read_bytes())
                        self.environments.add((folder / "environ").read_bytes())
            self.looks += 1
            self._gone.wait(max(0.02, EVERY_S - (time.monotonic() - began)))
