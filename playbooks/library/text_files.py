"""Ansible module: write several small text files in one task."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: text_files
short_description: Write files with their folders, each replaced in one go, only where they differ
options:
  files:
    description: "Each with C(path), C(content) and optionally C(mode), which is 0600 unless given."
    type: list
    elements: dict
    required: true
  folders: {description: "Folders that must exist, mode 0700.", type: list, elements: path, default: []}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Configure
  text_files:
    files: [{path: /srv/app/app.ini, content: "port = 8080"}]
"""
RETURN = r"""
written: {description: "The paths that were written.", type: list, returned: always}
"""


def differs(path: Path, content: str, mode: int) -> bool:
    """Whether `path` is not as wanted."""
    try:
        return path.read_text(encoding="utf-8") != content or path.stat().st_mode & 0o777 != mode
    except FileNotFoundError:
        return True


def write(path: Path, content: str, mode: int) -> None:
    """Replace `path` in one go; it is never readable by more people than `mode` says."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    making = path.with_name(path.name + ".making")
    making.unlink(missing_ok=True)
    handle = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    making.chmod(mode)
    making.replace(path)


def main() -> None:
    """Write what differs."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True},
            "folders": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    missing = [folder for folder in module.params["folders"] if not Path(folder).is_dir()]
    written = []
    try:
        for folder in [] if module.check_mode else missing:
            Path(folder).mkdir(parents=True, mode=0o700)
        for file in module.params["files"]:
            path, mode = Path(str(file["path"])), int(str(file.get("mode", "0600")), 8)
            if differs(path, str(file["content"]), mode):
                written.append(str(path))
                if not module.check_mode:
                    write(path, str(file["content"]), mode)
    except OSError as error:
        module.fail_json(msg=f"cannot write {error.filename}: {error.strerror}")
    module.exit_json(changed=bool(written or missing), written=written)


if __name__ == "__main__":
    main()
