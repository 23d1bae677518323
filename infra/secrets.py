"""Secrets are files, read at the moment of use, and carried as `SecretStr` so that no repr or log shows them.

Invariant: a secret's value is never part of a settings object, a command line, an environment variable,
a journal entry or an error.
"""

from __future__ import annotations

import stat
from pathlib import Path

from pydantic import SecretStr

from policy.errors import Unavailable
from policy.names import SecretName


class SecretFiles:
    """Reads secrets from one directory, one file each.

    Args:
        directory: holds files named as the secrets, readable by their owner only.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: SecretName) -> Path:
        """The file of secret `name`, for tools that read it themselves."""
        return self.directory / name

    def read(self, name: SecretName) -> SecretStr:
        """The value of `name`, without the line end.

        Raises:
            Unavailable: the file is absent, or others than its owner may read it.
        """
        path = self.path(name)
        try:
            mode = path.stat().st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise Unavailable(f"secret '{name}': its file is open to others; run chmod 600 {path}")
            return SecretStr(path.read_text(encoding="utf-8").rstrip("\n"))
        except OSError as error:
            raise Unavailable(f"secret '{name}': cannot read {path}: {error.strerror}") from error
