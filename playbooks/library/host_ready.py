"""Ansible module: whether a host is ready for a release; reports every finding at once and changes nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_ready
short_description: Look whether a host can take a release, and tell what runs there
options:
  root: {description: "The installation's root.", type: path, required: true}
  release: {description: "Directory name of the wanted release.", type: str, required: true}
  manager: {description: "C(supervisor) or C(systemd).", type: str, required: true}
  config: {description: "supervisord's configuration file.", type: path}
  names: {description: "The programs that should be declared.", type: list, elements: str, required: true}
  tools: {description: "Programs that must be found.", type: list, elements: str, default: []}
  free_mb: {description: "Space that a release needs.", type: int, default: 300}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Look
  host_ready: {root: /srv/kinto, release: 26.5.0-94e03321, manager: systemd, names: [kinto-live]}
"""
RETURN = r"""
freshet_facts: {description: "What was found.", type: dict, returned: always}
"""

import os
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.process_managers import ManagerError, manager_of


def main() -> None:
    """Look around."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "manager": {"type": "str", "required": True, "choices": ["supervisor", "systemd"]},
            "config": {"type": "path"},
            "names": {"type": "list", "elements": "str", "required": True},
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
        f"the program {tool} is not on this host" for tool in module.params["tools"] if shutil.which(tool) is None
    ]
    link = root / "current"
    active = Path(os.readlink(link)).name if link.is_symlink() else ""
    states: dict[str, str] = {}
    try:
        manager = manager_of(module.params["manager"], module.params["config"], module.params["names"])
        known = manager.states()
        states = {name: known.get(name, "ABSENT") for name in module.params["names"]}
    except ManagerError as error:
        findings.append(str(error))
    facts = {
        "active_release": active,
        "staged": staged,
        "free_mb": free_mb,
        "programs": states,
        "installed": bool(active) and "ABSENT" not in states.values(),
    }
    if findings:
        module.fail_json(msg="not ready: " + "; ".join(findings), freshet_facts=facts)
    module.exit_json(changed=False, freshet_facts=facts)


if __name__ == "__main__":
    main()
