"""Ansible module: make, finish, keep, put back and remove PostgreSQL data directories."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_files import sync
from ansible.module_utils.postgres_making import EMPTY, make_empty
from ansible.module_utils.postgres_programs import (
    MARK,
    ServerError,
    end_at_once,
    forget_tablespaces,
    give,
    major_of_directory,
    postmaster,
    private,
    run,
)

DOCUMENTATION = r"""
module: postgres_directory
short_description: The data directories of an upgrade, from the first file to the last
description:
  - C(made) makes an empty cluster as alike to another as the version allows, with its configuration files.
  - C(finished) marks a directory and gives it its final name, so that what has that name is complete.
  - C(kept) copies a directory aside, by sharing blocks where the file system can.
  - C(put_back) ends private servers, sets aside what an upgrade made, and puts a kept copy into place.
  - C(removed) removes directories, and what they hold in tablespaces.
  - No directory is touched while a server works in it.
options:
  state: {description: "As above.", type: str, required: true}
  data: {description: "The directory; for C(removed) a pattern is accepted.", type: path, required: true}
  bin: {description: "The folder of the programs of its version.", type: path}
  like: {description: "For C(made) the directory to resemble, for C(finished) the old one.", type: path}
  like_bin: {description: "The folder of the programs for C(like).", type: path}
  superuser: {description: "The role that initdb makes.", type: str, default: postgres}
  template: {description: "initdb's words for encoding and locale.", type: list, elements: str, default: []}
  copy: {description: "For C(kept) and C(put_back) where the copy is.", type: path}
  final: {description: "The final name of what the upgrade makes.", type: path}
  aside: {description: "For C(put_back) the name under which what the upgrade made is kept.", type: path}
  prefix: {description: "Words before each command.", type: list, elements: str, default: []}
  run: {description: "The run's id.", type: str, default: ""}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Make
  postgres_directory: {state: kept, data: /srv/16, copy: /srv/18.copy_r1a1}
"""
RETURN = r"""
kept: {description: "What was set aside.", type: list, returned: always}
"""


def make(asked: dict[str, Any], data: Path, *, dry: bool) -> bool:
    """Make an empty cluster, unless this run has one already; a half-made one is made anew."""
    empty = data / EMPTY
    if asked["run"] and empty.is_file() and empty.read_text(encoding="utf-8") == asked["run"]:
        return False
    if dry:
        return True
    if data.exists():
        remove(asked, data)
    make_empty(
        data,
        Path(asked["bin"]),
        like=Path(asked["like"]),
        like_bin=Path(asked["like_bin"]),
        superuser=asked["superuser"],
        template=list(asked["template"]),
        prefix=list(asked["prefix"]),
    )
    empty.write_text(asked["run"], encoding="utf-8")
    give(empty, Path(asked["like"]))
    return True


def finish(asked: dict[str, Any], data: Path) -> bool:
    """Mark `data` as complete, sync it, and give it its final name."""
    final, like = Path(asked["final"]), Path(asked["like"])
    mark = {
        "run": asked["run"],
        "from": major_of_directory(like),
        "to": major_of_directory(data),
        "old_data": str(like),
    }
    (data / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
    give(data / MARK, like)
    run(list(asked["prefix"]), str(Path(asked["bin"]) / "initdb"), "--sync-only", "--pgdata", str(data),
        timeout_s=3600)  # fmt: skip
    data.replace(final)
    sync(final.parent)
    return True


def keep(asked: dict[str, Any], data: Path) -> bool:
    """Copy `data` aside; what has the final name is a whole copy."""
    copy = Path(asked["copy"])
    if copy.exists():
        return False
    making = copy.with_name(copy.name + ".making")
    if making.exists():
        shutil.rmtree(making)
    run([], "cp", "--archive", "--reflink=auto", str(data), str(making), timeout_s=24 * 3600)
    run([], "sync", "--file-system", str(making), timeout_s=3600)
    making.replace(copy)
    sync(copy.parent)
    return True


def put_back(asked: dict[str, Any], data: Path, *, dry: bool) -> list[str]:
    """Set aside what an upgrade of `data` made; returns the names under which it is kept."""
    final, copy = Path(asked["final"]), Path(asked["copy"])
    made = [path for path in (final, final.with_name(final.name + ".making")) if path.exists()]
    halves = [path for path in (copy.with_name(copy.name + ".making"),) if path.exists()]
    if dry:
        return [str(path) for path in [*made, *halves, copy] if path.exists()]
    for path in [*made, data]:
        process = postmaster(path)
        if process is not None and private(process):
            end_at_once(path)
        elif process is not None and path != data:
            raise ServerError(f"a server still works in {path}; nothing was set aside")
    if copy.is_dir() and postmaster(data) is not None:
        raise ServerError(
            f"a server works in {data}, and its copy waits in {copy}; one of them is not needed"
        )
    for path in halves:
        shutil.rmtree(path)
    kept = [str(set_aside(path, asked)) for path in made if not (path / EMPTY).exists()]
    for path in made:
        if path.exists():
            shutil.rmtree(path)
    return kept + exchange(copy, data)


def set_aside(path: Path, asked: dict[str, Any]) -> Path:
    """Keep `path` as evidence, without what it holds in tablespaces, which would bar the next attempt."""
    if major_of_directory(path) and (path / "global/pg_control").is_file():
        forget_tablespaces(Path(asked["bin"]), path)
    aside = Path(asked["aside"])
    number = 1
    while aside.exists():
        number += 1
        aside = Path(f"{asked['aside']}.{number}")
    path.replace(aside)
    return aside


def exchange(copy: Path, data: Path) -> list[str]:
    """Put `copy`, if there is one, in the place of `data`.

    Files of a linked directory are the new server's as well: once that has run, only the copy is whole.
    """
    spoilt = data.with_name(data.name + ".linked")
    kept = []
    if copy.is_dir():
        if data.exists():
            data.replace(spoilt)
        copy.replace(data)
        kept.append(str(data))
    if spoilt.exists():
        shutil.rmtree(spoilt)
    sync(data.parent)
    return kept


def remove(asked: dict[str, Any], data: Path) -> bool:
    """Remove `data` with what it holds in tablespaces."""
    if postmaster(data) is not None:
        raise ServerError(f"a server works in {data}; it is not removed")
    if asked["bin"] and major_of_directory(data) and (data / "global/pg_control").is_file():
        forget_tablespaces(Path(asked["bin"]), data)
    shutil.rmtree(data)
    return True


def matching(data: Path) -> list[Path]:
    """The directories that `data` names, which may hold a pattern in its last part."""
    return sorted(data.parent.glob(data.name)) if data.parent.is_dir() else []


def main() -> None:
    """Bring the directory into the wanted state."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "required": True,
                "choices": ["made", "finished", "kept", "put_back", "removed"],
            },
            "data": {"type": "path", "required": True},
            "bin": {"type": "path"},
            "like": {"type": "path"},
            "like_bin": {"type": "path"},
            "superuser": {"type": "str", "default": "postgres"},
            "template": {"type": "list", "elements": "str", "default": []},
            "copy": {"type": "path"},
            "final": {"type": "path"},
            "aside": {"type": "path"},
            "prefix": {"type": "list", "elements": "str", "default": []},
            "run": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    asked, data = module.params, Path(module.params["data"])
    state, dry = asked["state"], module.check_mode
    kept: list[str] = []
    try:
        if state == "put_back":
            kept = put_back(asked, data, dry=dry)
            changed = bool(kept)
        elif state == "removed":
            found = matching(data)
            changed = bool(found)
            for path in [] if dry else found:
                remove(asked, path)
        elif state == "kept":
            changed = not Path(asked["copy"]).exists() if dry else keep(asked, data)
        elif state == "made":
            changed = make(asked, data, dry=dry)
        else:
            changed = dry or finish(asked, data)
    except (ServerError, OSError, shutil.Error, subprocess.SubprocessError) as error:
        module.fail_json(msg=str(error))
    facts = {"set_aside": kept} if kept else {}
    module.exit_json(changed=changed, kept=kept, freshet_facts=facts)


if __name__ == "__main__":
    main()
