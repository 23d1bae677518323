"""PostgreSQL refuses to run as root; this gives every server a user that is not root, whoever starts it.

Invariant: the data directory stays readable and removable by whoever starts the server, and nothing needs
the system's user database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from policy.errors import Unavailable

NOBODY = 65534
"""The kernel's overflow id: it exists on every Linux, whether or not /etc/passwd names it."""


@cache
def prefix() -> tuple[str, ...]:
    """The words to put before a server's command line; none for an ordinary user.

    Root gets a user namespace in which it is `nobody`: files stay root's, so every path works. Where the
    kernel refuses namespaces, the server really runs as `nobody` and `hand_over` gives it its directory.

    Raises:
        Unavailable: this is root and the machine offers neither way.
    """
    if os.geteuid() != 0:
        return ()
    tried = []
    for words in (
        ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"),
        ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    ):
        command = shutil.which(words[0])
        if command is None:
            tried.append(f"{words[0]} is not installed")
            continue
        probe = subprocess.run([command, *words[1:], "true"], capture_output=True, text=True, check=False)
        if probe.returncode == 0:
            return (command, *words[1:])
        tried.append(probe.stderr.strip() or f"{words[0]} exited {probe.returncode}")
    raise Unavailable(
        f"PostgreSQL does not run as root, and root cannot step down here ({'; '.join(tried)}); "
        "start it as an ordinary user, or install util-linux"
    )


def hand_over(directory: Path) -> None:
    """Let the server's user write in `directory` (which may be empty), if it is another user than this one.

    Raises:
        Unavailable: a folder above `directory` keeps that user out.
    """
    if not prefix() or Path(prefix()[0]).name != "setpriv":
        return
    for folder in [directory, *directory.rglob("*")]:
        os.chown(folder, NOBODY, NOBODY, follow_symlinks=False)
    reached = subprocess.run([*prefix(), "test", "-w", str(directory)], check=False)
    if reached.returncode != 0:
        raise Unavailable(
            f"PostgreSQL's user cannot reach {directory}: a folder above it is closed to others; "
            "start Freshet as an ordinary user, or from a folder that everybody may enter"
        )
