#!/usr/bin/python3
"""Ansible module: whether a host is ready for a release; tells every finding at once, changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
module: host_ready
short_description: Look whether a host can take a release, and tell what runs there
options:
  root: {description: "The installation's root.", type: path, required: true}
  release: {description: "Directory name of the wanted release.", type: str, required: true}
  tools: {description: "Programs that must be found.", type: list, elements: str, default: []}
  free_mb: {description: "Space that a release needs.", type: int, default: 300}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Look
  host_ready: {root: /srv/kinto, release: 26.5.0-94e03321}
"""
RETURN = r"""
freshet_facts: {description: "What was found.", type: dict, returned: always}
"""


# WANT_JSON: Ansible hands the arguments over in a file.


def arguments() -> dict[str, Any]:
    """What the task said; a module without Ansible's library starts in a fifth of the time."""
    return dict(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def leave(**result: object) -> None:
    """Tell Ansible the result and end."""
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(1 if result.get("failed") else 0)


def main() -> None:
    """Look around."""
    asked = arguments()
    free_wanted = int(asked.get("free_mb", 300))
    root = Path(asked["root"])
    findings = []
    existing = root
    while not existing.exists():
        existing = existing.parent
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    staged = (root / "releases" / asked["release"] / ".complete").is_file()
    if not staged and free_mb < free_wanted:
        findings.append(f"{existing} has {free_mb} MB free, a release needs {free_wanted} MB")
    if not os.access(existing, os.W_OK):
        findings.append(f"{existing} may not be written to by this user")
    findings += [
        f"the program {tool} is not on this host"
        for tool in asked.get("tools", [])
        if shutil.which(tool) is None
    ]
    link = root / "current"
    active = Path(os.readlink(link)).name if link.is_symlink() else ""
    facts = {
        "active_release": active,
        "staged": staged,
        "free_mb": free_mb,
        "installed": bool(active),
    }
    if findings:
        leave(failed=True, msg="not ready: " + "; ".join(findings), freshet_facts=facts)
    leave(changed=False, freshet_facts=facts)


if __name__ == "__main__":
    main()
