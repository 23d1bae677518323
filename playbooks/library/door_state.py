"""Ansible module: put the front doors of a web application's sites into a mode, and wait until they are in it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: door_state
short_description: Open, hold or close the front doors of sites
description:
  - Writes each site's state file and waits until the running door has told that it follows it.
  - Of a closed door it waits until the requests in flight are answered.
options:
  folder: {description: "Holds door.json and the state files.", type: path, required: true}
  environments: {description: "The sites whose doors are meant.", type: list, elements: str, required: true}
  state:
    description: "What the doors shall do; its C(mode) is C(open), C(hold) or C(maintenance)."
    type: dict
    required: true
  answer_s: {description: "How long a running door may take to follow.", type: float, default: 5}
  drain_s: {description: "How long requests in flight may take to end.", type: float, default: 5}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Show the page
  door_state:
    folder: /srv/kinto/door
    environments: [production, sandbox]
    state: {mode: maintenance, text: An update is going on.}
"""
RETURN = r"""
busy: {description: "Requests that were still in flight when the waiting ended, for each site.", type: dict, returned: always}
"""

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def read(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; empty when there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` in one go, so that a door never reads half a state."""
    making = path.with_suffix(".making")
    handle = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)


def main() -> None:
    """Bring the doors into the wanted states."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "environments": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "dict", "required": True},
            "answer_s": {"type": "float", "default": 5.0},
            "drain_s": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    folder = Path(module.params["folder"])
    declared = read(folder / "door.json")
    unknown = sorted(set(module.params["environments"]) - set(declared))
    if unknown and not module.check_mode:
        module.fail_json(msg=f"{folder} has no door for {', '.join(unknown)}: run the stage install first")
    serials: dict[str, str] = {}
    changed = []
    wanted = {key: value for key, value in module.params["state"].items() if value not in (None, "")}
    for name in module.params["environments"]:
        path = folder / f"{name}.json"
        found = read(path) or {"mode": "open", "serial": ""}
        if {key: value for key, value in found.items() if key != "serial"} != wanted:
            changed.append(name)
            found = {**wanted, "serial": uuid.uuid4().hex}
            if not module.check_mode:
                write(path, found)
        serials[name] = found["serial"]
    busy = {} if module.check_mode else wait(module, folder, serials)
    module.exit_json(changed=bool(changed), busy=busy, doors=changed)


def wait(module: AnsibleModule, folder: Path, serials: dict[str, str]) -> dict[str, int]:
    """Wait until every door follows its state and closed ones have no request in flight."""
    begun = time.monotonic()
    while True:
        told = {name: read(folder / f"{name}.told.json") for name in serials}
        deaf = [name for name, serial in serials.items() if told[name].get("serial") != serial]
        busy = {name: int(told[name].get("busy", 0)) for name in serials}
        waited = time.monotonic() - begun
        if not deaf and (not any(busy.values()) or waited > module.params["drain_s"]):
            return busy
        if deaf and waited > module.params["answer_s"]:
            module.fail_json(
                msg=f"the front door of {', '.join(deaf)} does not follow: is its program running? "
                f"Look at the door's log beside {folder}"
            )
        time.sleep(0.02)


if __name__ == "__main__":
    main()
