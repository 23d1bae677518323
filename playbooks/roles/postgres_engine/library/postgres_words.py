"""Ansible module: what pg_upgrade wrote down about a failure, in a few lines."""

from __future__ import annotations

import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: postgres_words
short_description: The lines that matter in the files of a failed pg_upgrade
description:
  - Lists of problems as a whole, of logs only errors; statements may hold password hashes and are left.
options:
  data: {description: "The new data directory.", type: path, required: true}
  lines: {description: "How many lines at most.", type: int, default: 12}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Find out why
  postgres_words: {data: /srv/18.making}
"""
RETURN = r"""
words: {description: "The lines, joined.", type: str, returned: always}
"""

TELLING = re.compile(r"\b(ERROR|FATAL|PANIC):|error:|LOG:.*unrecognized|could not")


def main() -> None:
    """Read the newest files."""
    module = AnsibleModule(
        argument_spec={"data": {"type": "path", "required": True}, "lines": {"type": "int", "default": 12}},
        supports_check_mode=True,
    )
    runs = sorted((Path(module.params["data"]) / "pg_upgrade_output.d").glob("*"))
    lines = []
    for path in sorted(runs[-1].rglob("*.txt")) if runs else []:
        lines += [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    for path in sorted(runs[-1].rglob("*.log")) if runs else []:
        text = path.read_text(encoding="utf-8", errors="replace")
        lines += [line.strip() for line in text.splitlines() if TELLING.search(line)]
    told = list(dict.fromkeys(line for line in lines if line))[: module.params["lines"]]
    module.exit_json(changed=False, words=" / ".join(told))


if __name__ == "__main__":
    main()
