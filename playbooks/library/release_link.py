"""Ansible module: which of the releases installed side by side is the active one."""

from __future__ import annotations

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

import json
import os
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

COMPLETE = ".complete"


class Releases:
    """The releases below one root."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "releases"
        self.link = root / "current"
        self.switched_file = root / "switched.json"

    def active(self) -> str:
        """The active release's directory name, or an empty string."""
        return Path(os.readlink(self.link)).name if self.link.is_symlink() else ""

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


def switch(module: AnsibleModule, releases: Releases) -> bool:
    """Activate the wanted release unless it is active."""
    wanted = module.params["release"]
    active = releases.active()
    if active == wanted:
        return False
    if module.check_mode:
        return True
    if not (releases.folder / wanted / COMPLETE).is_file():
        module.fail_json(msg=f"release {wanted} is not completely installed here: run the stage stage_release")
    # Noted first: after a crash between the two the note is harmless, a missing one would bar the way back.
    releases.note({"run": module.params["run"], "from": active, "to": wanted})
    releases.activate(wanted)
    return True


def put_back(module: AnsibleModule, releases: Releases) -> bool:
    """Activate what was active before this run's own switch; another run's switch is left alone."""
    switched = releases.switched()
    if switched.get("run") != module.params["run"] or releases.active() != switched.get("to"):
        return False
    before = switched["from"]
    if not before:
        return False
    if not (releases.folder / before / COMPLETE).is_file():
        module.fail_json(msg=f"the release to put back, {before}, is gone: install it again, then put back")
    if not module.check_mode:
        releases.activate(before)
    return True


def clean(module: AnsibleModule, releases: Releases) -> list[str]:
    """Remove releases that are neither active nor the last one's predecessor, nor among the newest `keep`."""
    active = releases.active()
    switched = releases.switched()
    needed = {active, switched.get("from", ""), switched.get("to", ""), module.params["release"]}
    found = [path for path in releases.folder.iterdir() if path.is_dir()] if releases.folder.is_dir() else []
    unused = sorted(
        (path for path in found if path.name not in needed), key=lambda path: path.stat().st_mtime, reverse=True
    )
    gone = unused[module.params["keep"] :] if active else []
    for path in gone:
        if not module.check_mode:
            # The marker goes first: a removal that was cut off leaves no release that looks complete.
            (path / COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(path)
    return [path.name for path in gone]


def main() -> None:
    """Carry out one of the three states."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["current", "put_back", "cleaned"]},
            "run": {"type": "str", "required": True},
            "keep": {"type": "int", "default": 1},
        },
        supports_check_mode=True,
    )
    releases = Releases(Path(module.params["root"]))
    before = releases.active()
    removed: list[str] = []
    if module.params["state"] == "current":
        changed = switch(module, releases)
    elif module.params["state"] == "put_back":
        changed = put_back(module, releases)
    else:
        removed = clean(module, releases)
        changed = bool(removed)
    active = releases.active()
    module.exit_json(
        changed=changed,
        active=active,
        removed=removed,
        freshet_facts={"active_release": active, "release_before": before},
    )


if __name__ == "__main__":
    main()
