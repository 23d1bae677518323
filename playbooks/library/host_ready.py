"""Ansible module: whether a host is ready for a release; tells every finding at once, changes nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

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


def main() -> None:
    """Look around."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "tools": {"type": "list", "elements": "str", "default": []},
            "free_mb": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    root = Path(module.params["root"])
    findings = []
    existing = root
    while not existing.exists():
        existing = existing.parent
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    staged = (root / "releases" / module.params["release"] / ".complete").is_file()
    if not staged and free_mb < module.params["free_mb"]:
        findings.append(f"{existing} has {free_mb} MB free, a release needs {module.params['free_mb']} MB")
    if not os.access(existing, os.W_OK):
        findings.append(f"{existing} may not be written to by this user")
    findings += [
        f"the program {tool} is not on this host"
        for tool in module.params["tools"]
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
        module.fail_json(msg="not ready: " + "; ".join(findings), freshet_facts=facts)
    module.exit_json(changed=False, freshet_facts=facts)


if __name__ == "__main__":
    main()
