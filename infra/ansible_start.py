"""How Ansible is started: in a private folder, by a command, with an environment of its own.

Invariant: a playbook sees of this process's environment only what stands in `_PASSED_ON`, and its folder is
gone when it has ended.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ansible_runner import RunnerConfig

from infra.roles import PLAYBOOKS, role_folders

POLL_SECONDS = 0.1

_PASSED_ON = (
    "HOME", "TZ", "TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CACHE_HOME",
    "UV_CACHE_DIR", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_OFFLINE", "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
"""All that a playbook sees of this process's environment: the rest may hold secrets."""


_PRIVATE = "ansible-"


@contextmanager
def private_folder(scratch: Path) -> Iterator[Path]:
    """A folder in `scratch`, with a short way to sockets; both are gone afterwards."""
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=scratch.absolute()))
    # Sockets' paths are limited to 107 bytes, the state folder's is not.
    sockets = Path(tempfile.mkdtemp(prefix="fr-"))
    (folder / "sockets").symlink_to(sockets)
    try:
        yield folder
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def forget_private_folders(scratch: Path) -> int:
    """Remove what a killed process left of such folders in `scratch`; how many there were.

    What Ansible itself wrote lies in them, before secrets are taken out of it.
    """
    found = list(scratch.glob(f"{_PRIVATE}*"))
    for folder in found:
        sockets = folder / "sockets"
        if sockets.is_symlink():
            shutil.rmtree(sockets.readlink(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    return len(found)


def configuration(private: Path, playbook: Path, *, check: bool, serial: int | None) -> RunnerConfig:
    """What ansible-runner is given to start `playbook`.

    Args:
        private: a folder from `private_folder`, with the inventory in it.
        playbook: the playbook.
        check: only look what would change.
        serial: so many hosts at a time; None means all at once.
    """
    config = RunnerConfig(
        private_data_dir=str(private),
        project_dir=str(playbook.parent.absolute()),
        playbook=str(playbook.absolute()),
        inventory=str(private / "hosts.yml"),
        cmdline=_arguments(check=check, serial=serial) or None,
        quiet=True,
        fact_cache_type="",
    )
    config.prepare()
    config.pexpect_timeout = POLL_SECONDS
    shim = Path(__file__).with_name("playbook_process.py")
    config.command = [sys.executable, "-I", str(shim), str(os.getpid()), *config.command[1:]]
    config.env = _environment(private, {key: str(value) for key, value in config.env.items()})
    return config


def _arguments(*, check: bool, serial: int | None) -> str:
    return " ".join(["--check"] * check + [f"--extra-vars freshet_serial={serial}"] * (serial is not None))


def _environment(private: Path, prepared: Mapping[str, str]) -> dict[str, str]:
    kept = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    runners = {key: value for key, value in prepared.items() if key.startswith(("AWX_", "RUNNER_"))}
    return {
        **kept,
        **runners,
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": kept.get("HOME", str(private)),
        "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_CALLBACK_PLUGINS": prepared["ANSIBLE_CALLBACK_PLUGINS"],
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_ROLES_PATH": ":".join(str(folder.absolute()) for folder in role_folders()),
        "ANSIBLE_HOME": str(private / "home"),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str((private / "sockets").resolve()),
        "ANSIBLE_NOCOLOR": "1",
    }
