"""Ansible module: whether a PostgreSQL server can be taken to another version; changes nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_files import can_clone, size
from ansible.module_utils.postgres_programs import (
    MARK,
    ServerError,
    major_of_directory,
    major_of_programs,
    postmaster,
    tablespaces,
)

DOCUMENTATION = r"""
module: postgres_host
short_description: Look at the two versions of a PostgreSQL server on their host
options:
  old: {description: "C(bin) and C(data) of the version that is there.", type: dict, required: true}
  new: {description: "C(bin) and C(data) of the version that is wanted.", type: dict, required: true}
  mode: {description: "C(auto), C(clone), C(copy), C(link) or C(dump).", type: str, required: true}
  prefix: {description: "Words before each command.", type: list, elements: str, default: []}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Look
  postgres_host: {old: {bin: /opt/16/bin, data: /srv/16}, new: {bin: /opt/18/bin, data: /srv/18}, mode: auto}
"""
RETURN = r"""
freshet_facts: {description: "What was found.", type: dict, returned: always}
upgraded: {description: "Whether the new directory is complete.", type: bool, returned: always}
mode: {description: "How files would be carried over.", type: str, returned: always}
serving: {description: "C(old), C(new) or C(none).", type: str, returned: always}
new_major: {description: "The wanted version.", type: int, returned: always}
"""

RESERVE = 1.1
CONTROL_FILE = re.compile(r"default_version\s*=\s*'([^']+)'")
MB = 1_000_000
SMALL = 200 * MB
"""What a version takes before anything is in it, and its log."""


def extensions(programs: Path) -> dict[str, str]:
    """The extensions that the programs bring, and the version each would be made with."""
    told = subprocess.run(
        [str(programs / "pg_config"), "--sharedir"], capture_output=True, text=True, check=False
    )
    if told.returncode != 0:
        raise ServerError(f"{programs}/pg_config does not run: {told.stderr.strip()}")
    found = {}
    for path in sorted((Path(told.stdout.strip()) / "extension").glob("*.control")):
        version = CONTROL_FILE.search(path.read_text(encoding="utf-8", errors="replace"))
        found[path.stem] = version.group(1) if version else ""
    return found


def mark_of(data: Path) -> dict[str, Any]:
    """What the mark in `data` says; empty when there is none."""
    try:
        return dict(json.loads((data / MARK).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


class Look:
    """The two versions of a server, and what is in the way."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.old_bin, self.old = Path(asked["old"]["bin"]), Path(asked["old"]["data"])
        self.new_bin, self.new = Path(asked["new"]["bin"]), Path(asked["new"]["data"])
        self.had, self.wanted = major_of_programs(self.old_bin), major_of_programs(self.new_bin)
        self.there = major_of_directory(self.old)
        self.mark = mark_of(self.new)
        self.upgraded = bool(self.mark) and major_of_directory(self.new) == self.wanted
        self.place = self.new.parent
        while not self.place.exists():
            self.place = self.place.parent
        self.writable = self._writable(list(asked["prefix"]))
        self.same_disk = self.old.exists() and self.old.stat().st_dev == self.place.stat().st_dev
        self.cloning = self.same_disk and os.access(str(self.place), os.W_OK) and can_clone(self.place)
        mode = str(asked["mode"])
        self.mode = ("clone" if self.cloning else "copy") if mode == "auto" else mode
        self.outside = tablespaces(self.old)
        self.bytes = sum(size(path) for path in [self.old, *self.outside] if path.exists())
        self.free = shutil.disk_usage(self.place).free

    def _writable(self, prefix: list[str]) -> bool:
        return subprocess.run([*prefix, "test", "-w", str(self.place)], check=False).returncode == 0

    def findings(self) -> list[str]:
        """What is in the way; nothing is, of an upgrade that is done."""
        found = []
        if self.wanted <= self.had:
            found.append(f"the wanted programs are of version {self.wanted}, the present ones of {self.had}")
        if self.upgraded:
            return found
        if self.there != self.had:
            found.append(f"{self.old} is of version {self.there or 'none'}, {self.old_bin} of {self.had}")
        if self.new.exists():
            found.append(f"{self.new} exists and no upgrade of {self.old} made it; name another folder")
        if not self.writable:
            found.append(f"the server's user may not write in {self.place}")
        return found + self._of_mode()

    def _of_mode(self) -> list[str]:
        found = []
        if self.mode == "clone" and not self.cloning:
            found.append(
                f"mode clone: {self.place} cannot share blocks with {self.old}; use copy, link or dump"
            )
        if self.mode == "link" and not self.same_disk:
            found.append(
                f"mode link: {self.place} is on another file system than {self.old}; use copy or dump"
            )
        if self.mode == "link" and self.outside:
            found.append("mode link: tablespaces lie outside the copy that leads back; use clone or copy")
        found += [
            f"tablespace {path} lies within the data directory; move it out, pg_upgrade refuses it"
            for path in self.outside
            if self.old in path.parents
        ]
        needed = SMALL if self.mode == "clone" else int(self.bytes * RESERVE) + SMALL
        if self.free < needed:
            found.append(
                f"{self.place} has {self.free // MB} MB free, mode {self.mode} needs {needed // MB} MB"
            )
        return found

    def facts(self) -> dict[str, Any]:
        """What is there."""
        return {
            "old_major": self.had,
            "new_major": self.wanted,
            "upgraded": self.upgraded,
            "upgraded_by": self.mark.get("run", "") if self.upgraded else "",
            "serving": "new" if postmaster(self.new) else "old" if postmaster(self.old) else "none",
            "mode": self.mode,
            "bytes": self.bytes,
            "free_bytes": self.free,
            "extensions": extensions(self.new_bin),
        }


def main() -> None:
    """Look around."""
    module = AnsibleModule(
        argument_spec={
            "old": {"type": "dict", "required": True},
            "new": {"type": "dict", "required": True},
            "mode": {"type": "str", "required": True, "choices": ["auto", "clone", "copy", "link", "dump"]},
            "prefix": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        look = Look(module.params)
        facts, findings = look.facts(), look.findings()
    except (ServerError, OSError) as error:
        module.fail_json(msg=f"not ready: {error}")
    told = {
        "upgraded": facts["upgraded"],
        "mode": facts["mode"],
        "serving": facts["serving"],
        "new_major": facts["new_major"],
    }
    if findings:
        module.fail_json(msg="not ready: " + "; ".join(findings), freshet_facts=facts, **told)
    module.exit_json(changed=False, freshet_facts=facts, **told)


if __name__ == "__main__":
    main()
