"""Where the roles of hosted applications lie: in this checkout, and wherever the company keeps its own.

Invariant: a role is found at one place, whoever asks for it: Ansible, the health checks or the protection.
"""

from __future__ import annotations

from pathlib import Path

from infra.settings import settings
from policy.names import ApplicationName

PLAYBOOKS = Path(__file__).parent.parent / "playbooks"
HERE = PLAYBOOKS / "roles"


def role_folders() -> tuple[Path, ...]:
    """The folders in which roles are looked for, in this order."""
    return (HERE, *settings().roles)


def role_of(application: ApplicationName) -> Path:
    """The role of `application`; in this checkout's folder when there is none."""
    name = f"app_{application}"
    return next((folder / name for folder in role_folders() if (folder / name).is_dir()), HERE / name)
