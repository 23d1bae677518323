#!/usr/bin/python3
"""Ansible module: put the front doors of sites into a mode, and wait until they are in it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

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
    description:
      - What the doors shall do; its C(mode) is C(open), C(hold) or C(maintenance).
      - C(lease_s) counts from now, the moment when the state is written, and becomes C(lease_until).
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
busy: {description: "Requests still in flight when the waiting ended.", type: dict, returned: always}
"""


# WANT_JSON: Ansible hands the arguments over in a file.


def arguments() -> dict[str, Any]:
    """What the task said; a module without Ansible's library starts in a fifth of the time."""
    return dict(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def leave(**result: object) -> None:
    """Tell Ansible the result and end."""
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(1 if result.get("failed") else 0)


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
    asked = arguments()
    check = bool(asked.get("_ansible_check_mode"))
    folder = Path(asked["folder"])
    unknown = sorted(set(asked["environments"]) - set(read(folder / "door.json")))
    if unknown and not check:
        leave(failed=True, msg=f"{folder} has no door for {', '.join(unknown)}: run the stage install first")
    serials: dict[str, str] = {}
    changed = []
    wanted = {key: value for key, value in asked["state"].items() if value not in (None, "")}
    if "lease_s" in wanted:
        lapses = datetime.now(timezone.utc) + timedelta(seconds=float(wanted.pop("lease_s")))
        wanted["lease_until"] = lapses.isoformat()
    for name in asked["environments"]:
        path = folder / f"{name}.json"
        found = read(path) or {"mode": "open", "serial": ""}
        if {key: value for key, value in found.items() if key != "serial"} != wanted:
            changed.append(name)
            found = {**wanted, "serial": uuid.uuid4().hex}
            if not check:
                write(path, found)
        serials[name] = found["serial"]
    if changed and not check:
        wake(folder, changed)
    busy = {} if check else wait(asked, folder, serials)
    leave(changed=bool(changed), busy=busy, doors=changed)


def wake(folder: Path, names: list[str]) -> None:
    """Tell the door to look now; it also looks by itself, a little later."""
    for door in {int(read(folder / f"{name}.told.json").get("pid", 0)) for name in names} - {0}:
        try:
            # Only a door may be signalled: the process id may belong to another program by now.
            if b"door.py" in Path(f"/proc/{door}/cmdline").read_bytes():
                os.kill(door, signal.SIGUSR1)
        except OSError:
            continue


def wait(asked: dict[str, Any], folder: Path, serials: dict[str, str]) -> dict[str, int]:
    """Wait until every door follows its state and closed ones have no request in flight."""
    begun = time.monotonic()
    while True:
        told = {name: read(folder / f"{name}.told.json") for name in serials}
        deaf = [name for name, serial in serials.items() if told[name].get("serial") != serial]
        busy = {name: int(told[name].get("busy", 0)) for name in serials}
        waited = time.monotonic() - begun
        if not deaf and (not any(busy.values()) or waited > float(asked.get("drain_s", 5))):
            return busy
        if deaf and waited > float(asked.get("answer_s", 5)):
            leave(
                failed=True,
                msg=f"the front door of {', '.join(deaf)} does not follow: is its program running? "
                f"Look at the door's log beside {folder}",
            )
        time.sleep(0.02)


if __name__ == "__main__":
    main()
