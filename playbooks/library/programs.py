"""Ansible module: start and stop an application's programs under supervisor or systemd, all of them in one task."""

from __future__ import annotations

DOCUMENTATION = r"""
module: programs
short_description: Declare, start or stop programs, and wait until they serve or are gone
description:
  - One task for all programs of a web application, since a task costs a quarter of a second.
  - C(declared) lets the process manager read new definitions, and starts nothing that was not to be started.
  - C(running) waits until each program of C(serving) answers; a program that ends meanwhile fails at once.
options:
  manager: {description: "C(supervisor) or C(systemd).", type: str, required: true}
  config: {description: "supervisord's configuration file.", type: path}
  state: {description: "C(declared), C(running), C(restarted), C(stopped) or C(removed).", type: str, required: true}
  names: {description: "The programs.", type: list, elements: str, required: true}
  serving:
    description: "For a program the address, port and path that answer with less than 500 once it serves."
    type: dict
    default: {}
  timeout_s: {description: "How long it may take in all.", type: float, default: 60}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Start
  programs:
    manager: supervisor
    config: /etc/supervisord.conf
    state: running
    names: [lakeside-live-production]
    serving: {lakeside-live-production: {address: 127.0.8.1, port: 8888, path: /v1/__lbheartbeat__}}
"""
RETURN = r"""
seconds: {description: "How long each program took.", type: dict, returned: when running}
"""

import http.client
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.process_managers import ALIVE, ManagerError, manager_of

POLL_S = 0.03


def serves(where: dict[str, Any]) -> bool:
    """Whether the program answers at `where`."""
    connection = http.client.HTTPConnection(str(where["address"]), int(where["port"]), timeout=10)
    try:
        connection.request("GET", str(where.get("path", "/")))
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop_all(module: AnsibleModule, manager: Any, names: list[str]) -> bool:
    """Stop `names` and wait until each is gone."""
    states = manager.states()
    here = [name for name in names if states.get(name) in ALIVE]
    if module.check_mode:
        return bool(here)
    for name in here:
        if states[name] != "STOPPING":
            manager.stop(name)
    give_up = time.monotonic() + module.params["timeout_s"]
    while here:
        states = manager.states()
        left = [name for name in here if states.get(name) in ALIVE]
        if not left:
            break
        if time.monotonic() > give_up:
            raise ManagerError(f"{', '.join(left)} did not stop within {module.params['timeout_s']:.0f} s")
        time.sleep(POLL_S)
    return bool(here)


def start_all(module: AnsibleModule, manager: Any, names: list[str]) -> tuple[bool, dict[str, float]]:
    """Start `names` at once and wait until each serves."""
    states = manager.states()
    unknown = [name for name in names if name not in states]
    if unknown and not module.check_mode:
        raise ManagerError(f"{', '.join(unknown)} is not declared: run the stage install first")
    asleep = [name for name in names if states.get(name) not in {"RUNNING", "STARTING"}]
    if module.check_mode:
        return bool(asleep), {}
    begun = time.monotonic()
    for name in asleep:
        if states.get(name) == "BACKOFF":
            manager.stop(name)
        manager.start(name)
    waiting = [name for name in names if name in module.params["serving"]]
    ready: dict[str, float] = {}
    while waiting:
        states = manager.states()
        for name in list(waiting):
            if states.get(name) in {"FATAL", "EXITED", "STOPPED", "BACKOFF"}:
                raise ManagerError(f"{name} ended while starting; its last words: {manager.last_words(name)}")
            if serves(module.params["serving"][name]):
                waiting.remove(name)
                ready[name] = round(time.monotonic() - begun, 3)
        if waiting and time.monotonic() - begun > module.params["timeout_s"]:
            words = manager.last_words(waiting[0])
            raise ManagerError(
                f"{', '.join(waiting)} did not serve within {module.params['timeout_s']:.0f} s; last words: {words}"
            )
        time.sleep(POLL_S)
    return bool(asleep), ready


def main() -> None:
    """Bring the programs into the wanted state."""
    module = AnsibleModule(
        argument_spec={
            "manager": {"type": "str", "required": True, "choices": ["supervisor", "systemd"]},
            "config": {"type": "path"},
            "state": {
                "type": "str",
                "required": True,
                "choices": ["declared", "running", "restarted", "stopped", "removed"],
            },
            "names": {"type": "list", "elements": "str", "required": True},
            "serving": {"type": "dict", "default": {}},
            "timeout_s": {"type": "float", "default": 60.0},
        },
        required_if=[("manager", "supervisor", ["config"])],
        supports_check_mode=True,
    )
    names = module.params["names"]
    state = module.params["state"]
    seconds: dict[str, float] = {}
    try:
        manager = manager_of(module.params["manager"], module.params["config"], names)
        changed = False
        if state in {"declared", "removed"}:
            changed = manager.declare(names, dry=module.check_mode, gone=state == "removed")
        if state in {"stopped", "restarted"}:
            changed = stop_all(module, manager, names)
        if state in {"running", "restarted"}:
            started, seconds = start_all(module, manager, names)
            changed = changed or started
    except ManagerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, seconds=seconds, freshet_facts={"start_seconds": seconds} if seconds else {})


if __name__ == "__main__":
    main()
