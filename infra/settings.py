"""Where this process finds the estate, the ledger, the queue and the mail server.

Invariant: settings hold names, addresses and paths, never a secret's value. Each field is read from
`FRESHET_<FIELD>`; `freshet up` writes them all to `<state_dir>/settings.env`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from policy.names import EmailAddress


class Settings(BaseSettings):
    """Everything a Freshet process needs to know before it reads the estate."""

    model_config = SettingsConfigDict(
        env_prefix="FRESHET_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    state_dir: Path = Field(default=Path(".freshet"), description="logs, run directories, embedded services")
    estate: Path = Field(default=Path(".freshet/estate.yaml"), description="the estate's file")
    secrets_dir: Path = Field(default=Path(".freshet/secrets"), description="one file per secret, mode 600")
    ledger: str = Field(
        default="host=127.0.0.1 port=15430 dbname=freshet user=freshet",
        description="libpq connection string of the ledger, without a password (see ledger_passfile)",
    )
    ledger_passfile: Path | None = Field(default=None, description="libpq password file for the ledger")
    aws_endpoint: str | None = Field(default=None, description="AWS endpoint; unset means AWS itself")
    aws_region: str = "us-east-1"
    queue: str = Field(default="freshet-requests", description="name of the SQS queue of requests")
    dead_letter_queue: str = "freshet-requests-dead"
    status_topic: str = Field(default="freshet-status", description="name of the SNS topic of status events")
    smtp: str = Field(default="127.0.0.1:15425", description="host:port of the mail server")
    mail_from: EmailAddress = EmailAddress("updates@hosting.example.org")
    on_call: EmailAddress = EmailAddress("on-call@hosting.example.org")
    engineer: EmailAddress = Field(
        default=EmailAddress("engineer@hosting.example.org"), description="who acts at this terminal"
    )
    prefect_api: str = "http://127.0.0.1:15442/api"
    lease_seconds: int = Field(
        default=30, ge=2, le=3600, description="a lease not renewed for this long is free"
    )
    outside_probe_seconds: float = 0.05

    @property
    def run_dir(self) -> Path:
        """Where runs keep evidence and scratch files, one folder a run."""
        return self.state_dir / "runs"


@cache
def settings() -> Settings:
    """The settings of this process, read once from the environment and `<state_dir>/settings.env`."""
    bare = Settings()
    return Settings(_env_file=bare.state_dir / "settings.env")
