"""Ansible module: run one command for each site, such as a migration, and leave no process behind."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_commands
short_description: Run commands, one after the other or together, each with a time-out
description:
  - When one fails, those that still run are ended and those that have not begun do not begin.
  - When the module itself is ended, so are the commands.
options:
  commands:
    description: "Each with C(name), C(argv) and optionally C(environment)."
    type: list
    elements: dict
    required: true
  changed: {description: "A regular expression; output that matches means that something changed.", type: str, default: "."}
  together: {description: "Run them all at once instead of in the given order.", type: bool, default: false}
  timeout_s: {description: "For each command.", type: float, required: true}
  done_file:
    description:
      - A file that says that all was done, and for what; nothing is run while its text is C(done_text).
      - Written last, so that something cut off is never taken for done.
    type: path
  done_text: {description: "What the file says.", type: str, default: done}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Migrate
  site_commands:
    commands: [{name: production, argv: [/srv/app/bin/migrate]}]
    timeout_s: 600
"""
RETURN = r"""
seconds: {description: "How long each command took.", type: dict, returned: always}
output: {description: "The last lines of each.", type: dict, returned: always}
"""

import ctypes
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

from ansible.module_utils.basic import AnsibleModule

PR_SET_PDEATHSIG = 1
LINES = 12


class Running:
    """One command and where it writes."""

    def __init__(self, command: dict[str, Any]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.name = str(command["name"])
        self.begun = time.monotonic()
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the command
        self.process = subprocess.Popen(
            [str(part) for part in command["argv"]],
            stdin=subprocess.DEVNULL,
            stdout=self.file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **{str(key): str(value) for key, value in command.get("environment", {}).items()}},
            start_new_session=True,
            # Should this module be killed, the kernel ends the command.
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
        )

    def seconds(self) -> float:
        """Since it began."""
        return round(time.monotonic() - self.begun, 3)

    def output(self) -> str:
        """The last lines of what it wrote."""
        size = self.file.seek(0, os.SEEK_END)
        self.file.seek(max(0, size - 8000))
        return "\n".join(self.file.read().decode(errors="replace").strip().splitlines()[-LINES:])

    def end(self) -> None:
        """End it and all that it started."""
        for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(patience)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


def main() -> None:
    """Run the commands."""
    module = AnsibleModule(
        argument_spec={
            "commands": {"type": "list", "elements": "dict", "required": True},
            "changed": {"type": "str", "default": "."},
            "together": {"type": "bool", "default": False},
            "timeout_s": {"type": "float", "required": True},
            "done_file": {"type": "path"},
            "done_text": {"type": "str", "default": "done"},
        },
        supports_check_mode=True,
    )
    mark = Path(module.params["done_file"]) if module.params["done_file"] else None
    done = mark is not None and mark.is_file() and mark.read_text(encoding="utf-8") == module.params["done_text"]
    if done or module.check_mode:
        module.exit_json(changed=mark is not None and not done, seconds={}, output={})
    if mark is not None:
        mark.unlink(missing_ok=True)
    waiting = list(module.params["commands"])
    running: list[Running] = []
    seconds: dict[str, float] = {}
    output: dict[str, str] = {}

    def end_all(number: int, _frame: FrameType | None) -> None:
        for command in running:
            command.end()
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end_all)
    failure = ""
    while (waiting or running) and not failure:
        while waiting and (module.params["together"] or not running):
            try:
                running.append(Running(waiting.pop(0)))
            except OSError as error:
                failure = f"cannot run: {error}"
                break
        for command in list(running):
            code = command.process.poll()
            if code is not None:
                running.remove(command)
                seconds[command.name], output[command.name] = command.seconds(), command.output()
                if code != 0:
                    failure = f"{command.name}: exit code {code}: {output[command.name]}"
            elif command.seconds() > module.params["timeout_s"]:
                failure = f"{command.name}: not done within {module.params['timeout_s']:.0f} s, ended"
        time.sleep(0.02)
    for command in running:
        command.end()
        seconds[command.name], output[command.name] = command.seconds(), command.output()
    if failure:
        module.fail_json(msg=failure, seconds=seconds, output=output)
    if mark is not None:
        with mark.open("w", encoding="utf-8") as file:
            file.write(module.params["done_text"])
            file.flush()
            os.fsync(file.fileno())
    changed = mark is not None or any(re.search(module.params["changed"], text) for text in output.values())
    module.exit_json(changed=changed, seconds=seconds, output=output, freshet_facts={"command_seconds": seconds})


if __name__ == "__main__":
    main()
