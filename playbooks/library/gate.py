#!/usr/bin/python3
"""Ansible module: say that all is ready, and wait until a file is there."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
module: gate
short_description: Wait for a file on the controller, looking often
description:
  - C(<path>.ready) is made first, for whoever opens the gate.
  - In check mode it does not wait.
options:
  path: {description: "The file.", type: path, required: true}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Wait
  gate: {path: /run/freshet/gate}
  delegate_to: localhost
"""
RETURN = r"""
waited_s: {description: "How long it waited.", type: float, returned: always}
"""


# WANT_JSON: Ansible hands the arguments over in a file.

TICK_S = 0.01


def arguments() -> dict[str, Any]:
    """What the task said; a module without Ansible's library starts in a fifth of the time."""
    return dict(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def leave(**result: object) -> None:
    """Tell Ansible the result and end."""
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(1 if result.get("failed") else 0)


def main() -> None:
    """Wait; whoever does not want this playbook any more ends it."""
    asked = arguments()
    gate = Path(asked["path"])
    begun = time.monotonic()
    if not asked.get("_ansible_check_mode"):
        gate.with_name(gate.name + ".ready").touch(mode=0o600)
        while not gate.exists():
            time.sleep(TICK_S)
    leave(changed=False, waited_s=round(time.monotonic() - begun, 3))


if __name__ == "__main__":
    main()
