"""Ansible module: a private place for an upgrade: for files, sockets, access and a password."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_programs import (
    PRIVATE_ACCESS,
    ServerError,
    end_at_once,
    give,
)

DOCUMENTATION = r"""
module: postgres_workspace
short_description: Make or remove the folder in which an upgrade works
description:
  - Sockets lie below the system's temporary folder, because their paths may have 107 bytes only.
  - Whoever reaches the sockets is trusted, and only the server's user reaches them.
options:
  path: {description: "The folder.", type: path, required: true}
  state: {description: "C(present) or C(absent).", type: str, default: present}
  like: {description: "To whose owner it shall belong.", type: path}
  superuser: {description: "The role that is let in.", type: str, default: postgres}
  keep: {description: "Leave one that is there as it is.", type: bool, default: false}
  password: {description: "The superuser's line for libpq's password file.", type: str, default: ""}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Make a place
  postgres_workspace: {path: /srv/18.work, like: /srv/16}
"""
RETURN = r"""
path: {description: "The folder.", type: str, returned: always}
sockets: {description: "The folder for sockets.", type: str, returned: always}
access: {description: "The access file.", type: str, returned: always}
passfile: {description: "The password file.", type: str, returned: always}
options: {description: "Options of a private server.", type: str, returned: always}
alone: {description: "Those of them that pg_upgrade does not give by itself.", type: str, returned: always}
"""

ALONE = "-c archive_mode=off -c logging_collector=off -c synchronous_standby_names='' -c unix_socket_group=''"
"""A private server archives nothing, waits for no standby, and writes where its starter reads."""


def remove(path: Path) -> bool:
    """Remove the folder and the one for its sockets; servers that work in it end at once."""
    for data in path.glob("*"):
        end_at_once(data)
    link = path / "sockets"
    if link.is_symlink():
        shutil.rmtree(os.readlink(link), ignore_errors=True)
    if path.is_dir():
        shutil.rmtree(path)
        return True
    return False


def write(path: Path, text: str) -> None:
    """Write a file that only its owner reads."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def make(asked: dict[str, Any], path: Path) -> Path:
    """Make the place anew; returns the folder for its sockets."""
    remove(path)
    path.mkdir(mode=0o700, parents=True)
    sockets = Path(tempfile.mkdtemp(prefix="fe-"))
    (path / "sockets").symlink_to(sockets)
    write(path / PRIVATE_ACCESS, f'local all "{asked["superuser"]}" trust\n')
    write(path / "pgpass", asked["password"])
    for owned in (path, sockets):
        give(owned, Path(asked["like"]))
    return sockets


def main() -> None:
    """Make or remove it."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "like": {"type": "path"},
            "superuser": {"type": "str", "default": "postgres"},
            "keep": {"type": "bool", "default": False},
            "password": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    asked, path = module.params, Path(module.params["path"])
    # What is here is never more than a help, so making and removing it is no change of the host.
    if asked["state"] == "absent":
        try:
            if not module.check_mode:
                remove(path)
        except ServerError as error:
            module.fail_json(msg=str(error))
        module.exit_json(changed=False)
    sockets, access, passfile = path / "sockets", path / PRIVATE_ACCESS, path / "pgpass"
    there = asked["keep"] and access.exists() and sockets.exists()
    if there:
        sockets = Path(os.readlink(sockets))
    elif not module.check_mode:
        try:
            sockets = make(asked, path)
        except ServerError as error:
            module.fail_json(msg=str(error))
    module.exit_json(
        changed=False,
        path=str(path),
        sockets=str(sockets),
        access=str(access),
        passfile=str(passfile),
        options=f"-c hba_file={access} -c listen_addresses='' -c unix_socket_directories={sockets} "
        f"-c unix_socket_permissions=0700 {ALONE}",
        alone=f"-c hba_file={access} {ALONE}",
    )


if __name__ == "__main__":
    main()
