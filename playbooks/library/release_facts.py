"""Ansible module: read facts about a release from its files, without running it."""

from __future__ import annotations

import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: release_facts
short_description: Tell facts that stand in a release's files
options:
  folder: {description: "The release's folder.", type: path, required: true}
  facts:
    description: "For each fact the C(glob) of one file and the C(pattern) whose first group is the value."
    type: dict
    required: true
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Tell the schema
  release_facts:
    folder: /srv/kinto/releases/26.5.0-94e03321
    facts: {schema_version: {glob: "schema.py", pattern: "version = (\\d+)"}}
"""
RETURN = r"""
freshet_facts: {description: "The facts.", type: dict, returned: always}
"""


def main() -> None:
    """Read the facts; one that is not found is an error, since somebody relies on it."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "facts": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    folder = Path(module.params["folder"])
    told = {}
    for name, where in module.params["facts"].items():
        texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob(where["glob"]))]
        match = next((found for text in texts if (found := re.search(where["pattern"], text))), None)
        if match is not None:
            told[name] = match.group(1)
        elif not module.check_mode:
            module.fail_json(msg=f"{folder}: no file like {where['glob']} tells {name}")
    module.exit_json(changed=False, freshet_facts=told)


if __name__ == "__main__":
    main()
