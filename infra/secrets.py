"""Secrets are files, read at the moment of use, and carried as `SecretStr` so that no repr or log shows them.

Invariant: a secret's value is never part of a settings object, a command line, an environment variable,
a journal entry or an error.
"""

from __future__ import annotations

import logging
import stat
from pathlib import Path

from pydantic import SecretStr

from infra.redaction import register
from policy.errors import Refused, Unavailable
from policy.names import SecretName

log = logging.getLogger("freshet.secrets")


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
            value = path.read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise Unavailable(f"secret '{name}': cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise Unavailable(f"secret '{name}': {path} is not text; write the secret as UTF-8") from None
        register(name, value)
        return SecretStr(value)

    def register_all(self) -> None:
        """Make every secret that this process may read known to the redacting log filter."""
        for path in sorted(self.directory.glob("*")):
            try:
                self.read(SecretName(path.name))
            except (Refused, Unavailable) as error:
                # Such a file is no secret that this process could read, so it cannot log its value either.
                log.debug("not registered: %s", error)
