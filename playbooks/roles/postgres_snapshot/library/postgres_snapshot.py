"""Ansible module: keep the files of a stopped PostgreSQL server, and put them back by a rename."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_files import can_clone, size, sync
from ansible.module_utils.postgres_programs import (
    ServerError,
    control,
    major_of_directory,
    major_of_programs,
    postmaster,
    run,
)
from ansible.module_utils.postgres_whole import STOPPED, below, compare, read, state_of

DOCUMENTATION = r"""
module: postgres_snapshot
short_description: A copy of a PostgreSQL server's data directory, from the first file to the last
description:
  - C(looked) changes nothing and tells what is there, and what would keep a copy from being taken.
  - C(taken) copies the directory of the stopped server, by sharing blocks where the file system can, reads
    the copy, and gives it its final name, so that what has that name is whole.
  - C(stopping) notes that the server is stopped for this run, C(running) that it is not any more; only a
    server of which that is noted is started again.
  - C(proven) reads the copy once more. C(ready) fails unless it can be put back, or has been.
  - C(put_back) sets the directory aside and renames the copy into its place.
  - C(dropped) removes the copy, C(cleared) also what was set aside.
  - No directory is touched while a server works in it.
options:
  state: {description: "As above.", type: str, required: true}
  bin: {description: "The folder of the server's programs.", type: path, required: true}
  data: {description: "Its data directory.", type: path, required: true}
  port: {description: "The port that it serves on.", type: int, required: true}
  copy: {description: "Where the copy is.", type: path, required: true}
  failed: {description: "Where the directory is set aside.", type: path, required: true}
  prefix: {description: "Words before each command.", type: list, elements: str, default: []}
  timeout_s: {description: "How long it may take.", type: float, default: 7200}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Keep
  postgres_snapshot:
    {state: taken, bin: /opt/18/bin, data: /srv/18, port: 5432, copy: /srv/18.copy, failed: /srv/18.old}
"""
RETURN = r"""
freshet_facts: {description: "What was found.", type: dict, returned: always}
taken: {description: "Whether the copy has its final name.", type: bool, returned: always}
stopped: {description: "Whether the server is stopped for this run.", type: bool, returned: always}
"""

MB = 1_000_000
PORT_LINE = 3
RESERVE = 1.02
STATES = ["looked", "stopping", "running", "taken", "proven", "ready", "put_back", "dropped", "cleared"]


class Files:
    """One server's directory, its copy, and what was set aside."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.bin, self.data, self.port = Path(asked["bin"]), Path(asked["data"]), int(asked["port"])
        self.copy, self.failed = Path(asked["copy"]), Path(asked["failed"])
        self.note = self.copy.with_name(f"{self.copy.name}.stopped")
        self.prefix, self.timeout = list(asked["prefix"]), float(asked["timeout_s"])

    def halves(self) -> list[Path]:
        """Copies that were never finished."""
        return sorted(self.copy.parent.glob(f"{self.copy.name}.making-*"))

    def taken(self) -> bool:
        """Whether the copy is whole."""
        return self.copy.is_dir()

    def restored(self) -> bool:
        """Whether the copy stands in the directory's place."""
        return self.failed.is_dir() and self.data.is_dir() and not self.taken()

    def facts(self) -> dict[str, Any]:
        """What is there."""
        whole = self.data if major_of_directory(self.data) else self.copy
        return {
            "taken": self.taken(),
            "restored": self.restored(),
            "stopped": self.note.exists(),
            "serving": postmaster(self.data) is not None,
            "bytes": size(self.copy if self.taken() else self.data),
            "shares_blocks": os.access(self.data.parent, os.W_OK) and can_clone(self.data.parent),
            "system_identifier": self.identifier(whole),
        }

    def identifier(self, data: Path) -> str:
        """Whose files `data` holds; empty when it holds none that these programs know."""
        try:
            return control(self.bin, data).get("Database system identifier", "")
        except (ServerError, OSError):
            return ""

    def in_the_way(self) -> list[str]:
        """What keeps a copy from being taken, the server's running aside."""
        try:
            had, wanted = major_of_directory(self.data), major_of_programs(self.bin)
        except ServerError as error:
            return [str(error)]
        if had != wanted:
            return [f"{self.data} is of version {had or 'none'}, {self.bin} of {wanted}"]
        found = []
        if subprocess.run([*self.prefix, "test", "-w", str(self.data.parent)], check=False).returncode != 0:
            found.append(f"the server's user may not write in {self.data.parent}")
        links = [str(path.relative_to(self.data)) for path in below(self.data) if path.is_symlink()]
        if links or self.data.is_symlink():
            shown = ", ".join(links[:3]) or "the directory itself"
            found.append(f"{shown} in {self.data} leads outside of it, where a copy would not reach")
        free = shutil.disk_usage(self.data.parent).free + sum(size(half) for half in self.halves())
        needed = int(size(self.data) * RESERVE)
        if not self.taken() and free < needed and not can_clone(self.data.parent):
            found.append(
                f"{self.data.parent} has {free // MB} MB free, a copy of the server takes {needed // MB} MB"
            )
        return found

    def not_serving(self) -> list[str]:
        """Whether the server that is meant works in the directory."""
        if postmaster(self.data) is None:
            return [f"no server works in {self.data}"]
        told = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        if len(told) > PORT_LINE and told[PORT_LINE] != str(self.port):
            return [f"the server in {self.data} serves on port {told[PORT_LINE]}, not {self.port}"]
        return []

    def take(self) -> bool:
        """Copy, read, name; what a killed attempt began is removed, and its writer never meets this one."""
        if self.taken():
            return False
        findings = self.in_the_way()
        if findings:
            raise ServerError("; ".join(findings))
        self.demand_stopped()
        for half in self.halves():
            shutil.rmtree(half)
        making = self.copy.with_name(f"{self.copy.name}.making-{secrets.token_hex(4)}")
        run([], "cp", "--archive", "--reflink=auto", str(self.data), str(making), timeout_s=self.timeout)
        run([], "sync", "--file-system", str(making), timeout_s=self.timeout)
        compare(self.bin, self.data, making)
        read(self.bin, making, prefix=self.prefix, timeout_s=self.timeout)
        self.demand_stopped()
        making.replace(self.copy)
        sync(self.copy.parent)
        return True

    def mark(self, *, stopped: bool) -> bool:
        """Note that the server is stopped for this run, or that it runs again; whether that is news."""
        if self.note.exists() is stopped:
            return False
        if stopped:
            self.note.touch(mode=0o600)
        else:
            self.note.unlink()
        sync(self.note.parent)
        return True

    def demand_stopped(self) -> None:
        """Fail unless the server has ended well: a copy of anything else would have to be recovered."""
        if postmaster(self.data) is not None:
            raise ServerError(f"a server works in {self.data}; it is not copied")
        state = state_of(self.bin, self.data)
        if state != STOPPED:
            raise ServerError(
                f"the server in {self.data} has not ended well ({state}); start it and try again"
            )

    def prove(self) -> bool:
        """Read the copy again; changes nothing."""
        if not self.taken():
            raise ServerError(f"there is no {self.copy}")
        read(self.bin, self.copy, prefix=self.prefix, timeout_s=self.timeout)
        return False

    def ready(self) -> bool:
        """Fail unless the copy can be put into place, or stands there; changes nothing."""
        if self.restored():
            return False
        if not self.taken():
            raise ServerError(f"the snapshot {self.copy} is gone; nothing was changed")
        if self.data.exists() and self.failed.exists():
            raise ServerError(f"{self.failed} is there already beside {self.copy}; look which is which")
        told = control(self.bin, self.copy)
        if told.get("Database cluster state") != STOPPED:
            raise ServerError(f"the snapshot {self.copy} is not as it was taken; nothing was changed")
        if self.data.exists():
            here = control(self.bin, self.data).get("Database system identifier")
            if here != told.get("Database system identifier"):
                raise ServerError(f"{self.copy} is of another server than {self.data}; nothing was changed")
        return False

    def put_back(self) -> bool:
        """Exchange the directories; the names tell how far that has come."""
        self.ready()
        if self.restored():
            return False
        if postmaster(self.data) is not None:
            raise ServerError(f"a server works in {self.data}; nothing was exchanged")
        if self.data.exists():
            self.data.replace(self.failed)
            sync(self.data.parent)
        self.copy.replace(self.data)
        sync(self.data.parent)
        return True

    def remove(self, *, evidence: bool) -> bool:
        """Remove the copy and its halves, and with `evidence` what was set aside."""
        found = [path for path in (self.copy, *([self.failed] if evidence else [])) if path.is_dir()]
        if found and not self.data.is_dir():
            raise ServerError(
                f"{self.data} is not there, and {self.copy} may be all that is left; nothing was removed"
            )
        for path in [*found, *self.halves()]:
            if postmaster(path) is not None:
                raise ServerError(f"a server works in {path}; it is not removed")
            shutil.rmtree(path)
        return bool(found)


def act(files: Files, state: str, *, dry: bool) -> tuple[bool, dict[str, Any]]:
    """Bring the files into `state`; whether that changed anything, and what is to be told besides."""
    if state == "looked":
        return False, {"findings": [*files.in_the_way(), *files.not_serving()]}
    if dry:
        there = {"taken": not files.taken(), "stopping": False, "running": files.note.exists()}
        return there.get(state, files.taken() and state in {"put_back", "dropped", "cleared"}), {}
    acts: dict[str, Callable[[], bool]] = {
        "taken": files.take,
        "stopping": lambda: files.mark(stopped=True),
        "running": lambda: files.mark(stopped=False),
        "proven": files.prove,
        "ready": files.ready,
        "put_back": files.put_back,
        "dropped": lambda: files.remove(evidence=False),
        "cleared": lambda: files.remove(evidence=True),
    }
    changed = acts[state]()
    return changed, {"exchanged": changed} if state == "put_back" else {}


def main() -> None:
    """Bring the files into the wanted state."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": STATES},
            "bin": {"type": "path", "required": True},
            "data": {"type": "path", "required": True},
            "port": {"type": "int", "required": True},
            "copy": {"type": "path", "required": True},
            "failed": {"type": "path", "required": True},
            "prefix": {"type": "list", "elements": "str", "default": []},
            "timeout_s": {"type": "float", "default": 7200.0},
        },
        supports_check_mode=True,
    )
    try:
        files = Files(module.params)
        changed, told = act(files, module.params["state"], dry=module.check_mode)
        facts = {**files.facts(), **told}
    except (ServerError, OSError, shutil.Error, subprocess.SubprocessError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, taken=facts["taken"], stopped=facts["stopped"], freshet_facts=facts)


if __name__ == "__main__":
    main()
