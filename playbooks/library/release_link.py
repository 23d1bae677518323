#!/usr/bin/python3
"""Ansible module: which of the releases installed side by side is the active one."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
module: release_link
short_description: Switch to a release, back from it, or remove releases that are no longer needed
description:
  - C(current) is a symbolic link that is replaced in one go.
  - Who switched from what is written down, so that only the run that switched can switch back.
options:
  root: {description: "The installation's root.", type: path, required: true}
  release: {description: "Directory name of the wanted release below C(releases).", type: str, required: true}
  state: {description: "C(current), C(put_back) or C(cleaned).", type: str, required: true}
  run: {description: "The run that asks.", type: str, required: true}
  keep: {description: "How many unused releases stay when cleaning, newest first.", type: int, default: 1}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Switch
  release_link: {root: /srv/kinto, release: 26.5.0-94e03321, state: current, run: r42a1}
"""
RETURN = r"""
active: {description: "The active release afterwards.", type: str, returned: always}
"""


# WANT_JSON: Ansible hands the arguments over in a file.

COMPLETE = ".complete"


def arguments() -> dict[str, Any]:
    """What the task said; a module without Ansible's library starts in a fifth of the time."""
    return dict(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def leave(**result: object) -> None:
    """Tell Ansible the result and end."""
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(1 if result.get("failed") else 0)


class Releases:
    """The releases below one root."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "releases"
        self.link = root / "current"
        self.switched_file = root / "switched.json"

    def active(self) -> str:
        """The active release's directory name, or an empty string."""
        return Path(self.link.readlink()).name if self.link.is_symlink() else ""

    def switched(self) -> dict[str, str]:
        """From what to what the last switch led, and whose it was."""
        try:
            found = json.loads(self.switched_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {str(key): str(value) for key, value in found.items()}

    def note(self, switched: dict[str, str]) -> None:
        """Write down a switch before it is made."""
        making = self.switched_file.with_suffix(".making")
        with making.open("w", encoding="utf-8") as file:
            json.dump(switched, file)
            file.flush()
            os.fsync(file.fileno())
        making.replace(self.switched_file)

    def activate(self, release: str) -> None:
        """Let `current` lead to `release`, in one go."""
        making = self.link.with_name("current.making")
        making.unlink(missing_ok=True)
        making.symlink_to(Path("releases") / release)
        making.replace(self.link)


def switch(asked: dict[str, Any], releases: Releases) -> bool:
    """Activate the wanted release unless it is active."""
    wanted = asked["release"]
    active = releases.active()
    if active == wanted:
        return False
    if asked.get("_ansible_check_mode"):
        return True
    if not (releases.folder / wanted / COMPLETE).is_file():
        leave(
            failed=True, msg=f"release {wanted} is not completely installed here: run the stage stage_release"
        )
    # Noted first: after a crash between the two the note is harmless, a missing one would bar the way back.
    releases.note({"run": asked["run"], "from": active, "to": wanted})
    releases.activate(wanted)
    return True


def put_back(asked: dict[str, Any], releases: Releases) -> bool:
    """Activate what was active before this run's own switch; another run's switch is left alone."""
    switched = releases.switched()
    if switched.get("run") != asked["run"] or releases.active() != switched.get("to"):
        return False
    before = switched["from"]
    if not before:
        return False
    if not (releases.folder / before / COMPLETE).is_file():
        leave(failed=True, msg=f"the release to put back, {before}, is gone: install it again, then put back")
    if not asked.get("_ansible_check_mode"):
        releases.activate(before)
    return True


def clean(asked: dict[str, Any], releases: Releases) -> list[str]:
    """Remove releases that are neither active nor the last one's predecessor, nor among the newest `keep`."""
    active = releases.active()
    switched = releases.switched()
    needed = {active, switched.get("from", ""), switched.get("to", ""), asked["release"]}
    found = [path for path in releases.folder.iterdir() if path.is_dir()] if releases.folder.is_dir() else []
    unused = sorted(
        (path for path in found if path.name not in needed),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    gone = unused[int(asked.get("keep", 1)) :] if active else []
    for path in gone:
        if not asked.get("_ansible_check_mode"):
            # The marker goes first: a removal that was cut off leaves no release that looks complete.
            (path / COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(path)
    return [path.name for path in gone]


def main() -> None:
    """Carry out one of the three states."""
    asked = arguments()
    releases = Releases(Path(asked["root"]))
    before = releases.active()
    removed: list[str] = []
    if asked["state"] == "current":
        changed = switch(asked, releases)
    elif asked["state"] == "put_back":
        changed = put_back(asked, releases)
    else:
        removed = clean(asked, releases)
        changed = bool(removed)
    active = releases.active()
    leave(
        changed=changed,
        active=active,
        removed=removed,
        freshet_facts={"active_release": active, "release_before": before},
    )


if __name__ == "__main__":
    main()
