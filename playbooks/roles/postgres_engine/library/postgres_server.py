"""Ansible module: start and stop the PostgreSQL server of one data directory."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_programs import (
    ServerError,
    end_at_once,
    give,
    major_of_directory,
    owner_of,
    postmaster,
    private,
    run,
)

DOCUMENTATION = r"""
module: postgres_server
short_description: Start or stop the server of a data directory, and wait for it
description:
  - A server that this role had started for itself is not the one that serves; C(started) stops it first.
  - C(started) removes what marks processes of a run, because the server must outlive it.
  - A directory that is not there has no server, so C(stopped) has nothing to do.
options:
  bin: {description: "The folder of the programs of its version.", type: path, required: true}
  data: {description: "The data directory.", type: path, required: true}
  state:
    description: "C(started) to serve, C(private) for this role only, or C(stopped)."
    type: str
    required: true
  options: {description: "Options of the server, for C(private).", type: str, default: ""}
  prefix: {description: "Words before each command.", type: list, elements: str, default: []}
  log: {description: "Where the server writes; beside the directory unless given.", type: path}
  service: {description: "The systemd unit that is the server; enabled and disabled with it.", type: str}
  systemctl: {description: "The program that rules systemd.", type: str, default: systemctl}
  only_of: {description: "Fail if the directory is finished, and by another run than this.", type: str}
  timeout_s: {description: "How long it may take.", type: int, default: 120}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Start
  postgres_server: {bin: /usr/lib/postgresql/18/bin, data: /var/lib/postgresql/18/main, state: started}
"""
RETURN = r"""
pid: {description: "The server's process id.", type: int, returned: when it runs}
"""


class Server:
    """The server of one data directory."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.bin = Path(asked["bin"])
        self.data = Path(asked["data"])
        self.prefix = list(asked["prefix"])
        self.log = Path(asked["log"] or f"{self.data}.log")
        self.service = asked["service"]
        self.systemctl = asked["systemctl"]
        self.timeout = int(asked["timeout_s"])

    def control(self, *words: str, serve: bool = False) -> None:
        """Call pg_ctl."""
        run(
            self.prefix, str(self.bin / "pg_ctl"), *words, "--pgdata", str(self.data), "--wait", "--silent",
            f"--timeout={self.timeout}", serve=serve, timeout_s=self.timeout + 10,
        )  # fmt: skip

    def start(self, *, options: str = "") -> None:
        """Start it, and tell the end of its log when it does not come up."""
        self.log.touch(mode=0o600)
        give(self.log, self.data)
        # A lock file that a killed server left, whose number another program now has, would bar the start.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        try:
            if self.service and not options:
                run([], self.systemctl, "enable", "--now", self.service, timeout_s=self.timeout)
                return
            extra = ["-o", options] if options else []
            self.control("start", "--log", str(self.log), *extra, serve=not options)
        except ServerError as error:
            last = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-6:]
            raise ServerError(f"{error}; its log ends: {' / '.join(last)}") from error

    def enabled(self) -> bool:
        """Whether the machine would start it by itself."""
        if not self.service:
            return False
        asked = [self.systemctl, "is-enabled", "--quiet", self.service]
        return subprocess.run(asked, check=False).returncode == 0

    def stop(self, process: int) -> None:
        """Stop it; sessions are rolled back, and when that takes too long it stops as after a crash."""
        if self.service and not private(process):
            run([], self.systemctl, "disable", "--now", self.service, timeout_s=self.timeout)
        else:
            try:
                self.control("stop", "--mode=fast")
            except ServerError:
                end_at_once(self.data, patience_s=self.timeout)
        give_up = time.monotonic() + self.timeout
        while postmaster(self.data) == process:
            if time.monotonic() > give_up:
                raise ServerError(f"the server in {self.data}, process {process}, does not stop")
            time.sleep(0.05)


def main() -> None:
    """Bring the server into the wanted state."""
    module = AnsibleModule(
        argument_spec={
            "bin": {"type": "path", "required": True},
            "data": {"type": "path", "required": True},
            "state": {
                "type": "str",
                "required": True,
                "choices": ["started", "private", "stopped"],
            },
            "options": {"type": "str", "default": ""},
            "prefix": {"type": "list", "elements": "str", "default": []},
            "log": {"type": "path"},
            "service": {"type": "str"},
            "systemctl": {"type": "str", "default": "systemctl"},
            "only_of": {"type": "str"},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    server = Server(module.params)
    wanted, whose = module.params["state"], owner_of(server.data)
    if module.params["only_of"] and whose not in {"", module.params["only_of"]}:
        module.fail_json(msg=f"{server.data} was made by run {whose}, which has ended well; it is left alone")
    process = postmaster(server.data)
    to_run = wanted in {"started", "private"}
    if to_run and not major_of_directory(server.data) and not module.check_mode:
        module.fail_json(msg=f"{server.data} is no data directory, so there is no server to start")
    wrong = process is not None and (wanted == "stopped" or private(process) == (wanted != "private"))
    missing = to_run and (process is None or wrong)
    # One that is not running must not come up with the machine either.
    awake = wanted == "stopped" and process is None and server.enabled()
    try:
        if process is not None and wrong and not module.check_mode:
            server.stop(process)
        if awake and not module.check_mode:
            run([], server.systemctl, "disable", str(server.service), timeout_s=server.timeout)
        if missing and not module.check_mode:
            server.start(options=module.params["options"] if wanted == "private" else "")
    except ServerError as error:
        module.fail_json(msg=str(error))
    now = postmaster(server.data)
    if wanted == "started" and now is None and not module.check_mode:
        module.fail_json(msg=f"the server in {server.data} ended at once; its log is {server.log}")
    module.exit_json(changed=bool(wrong or missing or awake), pid=now)


if __name__ == "__main__":
    main()
