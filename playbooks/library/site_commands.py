#!/usr/bin/python3
"""Ansible module: run one command for each site, such as a migration, and leave no process behind."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

DOCUMENTATION = r"""
module: site_commands
short_description: Run commands, one after the other or together, each with a time-out
description:
  - When one fails, those that still run are ended and those that have not begun do not begin.
  - When the module itself is ended, so are the commands.
options:
  commands:
    description:
      - Each with C(name), C(argv) and optionally C(environment).
      - C(check_argv) is run instead in check mode, when it only looks; without it nothing is run there.
    type: list
    elements: dict
    required: true
  changed: {description: "Output that matches this means that something changed.", type: str, default: "."}
  together: {description: "Begin all at once, in the given order.", type: bool, default: false}
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


# WANT_JSON: Ansible hands the arguments over in a file.

PR_SET_PDEATHSIG = 1
LINES = 12


def arguments() -> dict[str, Any]:
    """What the task said; a module without Ansible's library starts in a fifth of the time."""
    return dict(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def leave(**result: object) -> None:
    """Tell Ansible the result and end."""
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(1 if result.get("failed") else 0)


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
            env={
                **os.environ,
                **{str(key): str(value) for key, value in command.get("environment", {}).items()},
            },
            start_new_session=True,
            # Should this module be killed, the kernel ends the command.
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509 - no threads here
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


class Sequence:
    """The commands of one task, as far as they have come."""

    def __init__(self, waiting: list[dict[str, Any]], *, together: bool, timeout_s: float) -> None:
        self.waiting = waiting
        self.together = together
        self.timeout_s = timeout_s
        self.running: list[Running] = []
        self.seconds: dict[str, float] = {}
        self.output: dict[str, str] = {}

    def go_on(self) -> str:
        """Begin what may begin, note what has ended; returns why it failed, if it did."""
        while self.waiting and (self.together or not self.running):
            try:
                self.running.append(Running(self.waiting.pop(0)))
            except OSError as error:
                return f"cannot run: {error}"
        for command in list(self.running):
            code = command.process.poll()
            if code is not None:
                self.running.remove(command)
                self.note(command)
                if code != 0:
                    last = " / ".join(self.output[command.name].splitlines()[-3:])
                    return f"{command.name}: exit code {code}: {last}"
            elif command.seconds() > self.timeout_s:
                return f"{command.name}: not done within {self.timeout_s:.0f} s, ended"
        return ""

    def note(self, command: Running) -> None:
        """Keep what there is to tell of `command`."""
        self.seconds[command.name], self.output[command.name] = command.seconds(), command.output()

    def end(self) -> None:
        """End what still runs."""
        for command in self.running:
            command.end()
            self.note(command)
        self.running.clear()


def main() -> None:
    """Run the commands."""
    asked = arguments()
    mark = Path(asked["done_file"]) if asked.get("done_file") else None
    done_text = str(asked.get("done_text", "done"))
    done = mark is not None and mark.is_file() and mark.read_text(encoding="utf-8") == done_text
    check = bool(asked.get("_ansible_check_mode"))
    if done or (check and mark is not None):
        leave(changed=not done, seconds={}, output={})
    commands = list(asked["commands"])
    if check:
        commands = [
            {**command, "argv": command["check_argv"]} for command in commands if "check_argv" in command
        ]
    if mark is not None:
        mark.unlink(missing_ok=True)
    sequence = Sequence(commands, together=bool(asked.get("together")), timeout_s=float(asked["timeout_s"]))

    def end_all(number: int, _frame: FrameType | None) -> None:
        sequence.end()
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end_all)
    failure = ""
    while (sequence.waiting or sequence.running) and not failure:
        failure = sequence.go_on()
        time.sleep(0.02)
    sequence.end()
    told = {"seconds": sequence.seconds, "output": sequence.output}
    if failure:
        leave(failed=True, msg=failure, **told)
    if mark is not None:
        with mark.open("w", encoding="utf-8") as file:
            file.write(done_text)
            file.flush()
            os.fsync(file.fileno())
    pattern = str(asked.get("changed", "."))
    changed = mark is not None or any(re.search(pattern, text) for text in sequence.output.values())
    leave(changed=changed, freshet_facts={"command_seconds": sequence.seconds}, **told)


if __name__ == "__main__":
    main()
