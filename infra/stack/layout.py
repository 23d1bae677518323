"""Where the embedded stack keeps things below its state directory.

Invariant: everything that the stack writes lies below `state`, so removing that folder removes the stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
"""The checkout: `demo/`, `releases/`, `playbooks/` and `flows/` lie here."""


@dataclass(frozen=True)
class Layout:
    """The paths of one embedded stack.

    Args:
        state: its state directory, absolute.
    """

    state: Path

    @property
    def secrets(self) -> Path:
        """One file a secret."""
        return self.state / "secrets"

    @property
    def clusters(self) -> Path:
        """PostgreSQL's data directories and logs."""
        return self.state / "clusters"

    @property
    def logs(self) -> Path:
        """One log a service, and the one before its last rotation."""
        return self.state / "logs"

    @property
    def mail(self) -> Path:
        """What the mail catcher caught."""
        return self.state / "mail"

    @property
    def temporary(self) -> Path:
        """Temporary files of the stack's processes; emptied by `down`."""
        return self.state / "tmp"

    @property
    def prefect(self) -> Path:
        """Prefect's home: profiles and results."""
        return self.state / "prefect"

    @property
    def supervisor(self) -> Path:
        """Supervisord's configuration; web applications drop theirs in `conf.d`."""
        return self.state / "supervisor"

    @property
    def supervisor_config(self) -> Path:
        """What `supervisorctl -c` is given."""
        return self.supervisor / "supervisord.conf"

    @property
    def estate(self) -> Path:
        """The estate as rendered by `freshet up`."""
        return self.state / "estate.yaml"

    @property
    def settings(self) -> Path:
        """What every Freshet process reads at its start."""
        return self.state / "settings.env"

    @property
    def ports(self) -> Path:
        """The ports of the last `freshet up`."""
        return self.state / "ports.json"

    @property
    def lock(self) -> Path:
        """Held while `up` or `down` works."""
        return self.state / "stack.lock"

    def create(self) -> None:
        """Make the folders, closed to others: there is personal data and there are secrets in them."""
        self.state.mkdir(parents=True, exist_ok=True)
        for folder in (
            self.temporary,
            self.secrets,
            self.clusters,
            self.logs,
            self.mail,
            self.prefect,
            self.supervisor / "conf.d",
        ):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.state / "runs").mkdir(exist_ok=True, mode=0o700)
        self.state.chmod(0o700)
