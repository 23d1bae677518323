"""Where this process finds the estate, the ledger, the queue and the mail server.

Invariant: settings hold names, addresses and paths, never a secret's value. Each field is read from
`FRESHET_<FIELD>`; `freshet up` writes them all to `<state_dir>/settings.env`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from policy.errors import Refused
from policy.names import EmailAddress, SecretName
from policy.sender import Sender


def _address(value: object) -> EmailAddress:
    try:
        return EmailAddress(str(value))
    except Refused as refused:
        raise ValueError(str(refused)) from None


def _secret(value: object) -> SecretName:
    try:
        return SecretName(str(value))
    except Refused:
        # Whoever wrote the secret itself here must not read it back in a log.
        raise ValueError("it takes the name of a secret, not its value") from None


Address = Annotated[EmailAddress, BeforeValidator(_address)]
Secret = Annotated[SecretName, BeforeValidator(_secret)]


class SenderSetting(BaseModel):
    """What one principal of the queue may say; see `policy.sender.Sender`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    contact: Address | None = None
    speaks_for_others: bool = False


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
    senders: dict[str, SenderSetting] = Field(
        default={}, description="who may send requests, by the queue's SenderId (user id, or id of a role)"
    )
    status_topic: str = Field(
        default="freshet-status", description="name or ARN of the SNS topic of status events"
    )
    mail_through: Literal["smtp", "ses"] = "smtp"
    smtp: str = Field(default="127.0.0.1:15443", description="host:port of the mail server")
    smtp_security: Literal["none", "starttls", "tls"] = "none"
    smtp_user: str | None = None
    smtp_secret: Secret | None = Field(default=None, description="secret with the mail user's password")
    on_call_webhook: Secret | None = Field(
        default=None, description="secret with the address of the on-call channel"
    )
    mail_from: Address = EmailAddress("updates@hosting.example.org")
    on_call: Address = EmailAddress("on-call@hosting.example.org")
    engineer: Address = Field(
        default=EmailAddress("engineer@hosting.example.org"), description="who acts at this terminal"
    )
    remind_hours: tuple[int, ...] = Field(
        default=(144, 24), description="how many hours before a start its contacts are reminded"
    )
    answer_days: int = Field(
        default=7, ge=1, le=90, description="a question open for longer puts its request on hold"
    )
    log_out_minutes: int = Field(
        default=30, ge=0, le=1440, description="how long before a start people are asked to log out"
    )
    roles: tuple[Path, ...] = Field(
        default=(), description="folders with roles of further applications, as a JSON list"
    )
    prefect_api: str = "http://127.0.0.1:15442/api"
    lease_seconds: int = Field(
        default=30, ge=2, le=3600, description="a lease not renewed for this long is free"
    )
    outside_probe_seconds: float = 0.05

    def __hash__(self) -> int:
        """By value, as they are compared; pydantic's own does not take the mapping of senders."""
        return hash(self.model_dump_json())

    @property
    def known_senders(self) -> Mapping[str, Sender]:
        """The senders by principal, as `policy.sender.sender_of` takes them."""
        return {
            principal: Sender(contact=sender.contact, speaks_for_others=sender.speaks_for_others)
            for principal, sender in self.senders.items()
        }

    @property
    def run_dir(self) -> Path:
        """Where runs keep evidence and scratch files, one folder a run."""
        return self.state_dir / "runs"


@cache
def settings() -> Settings:
    """The settings of this process, read once from the environment and `<state_dir>/settings.env`.

    Raises:
        Refused: a value is wrong; every one is a finding that names its variable.
    """
    try:
        bare = Settings()
        return Settings(_env_file=bare.state_dir / "settings.env")
    except ValidationError as error:
        raise Refused(*(_finding(mistake) for mistake in error.errors(include_input=False))) from None
    except SettingsError as error:
        # Its text names the field and the source, never the value.
        raise Refused(f"settings: {error}; a list or mapping is written as JSON") from None


def _finding(mistake: ErrorDetails) -> str:
    field, *inside = map(str, mistake["loc"])
    within = f" ({'.'.join(inside)})" if inside else ""
    problem = mistake["msg"].removeprefix("Value error, ")
    return f"FRESHET_{field.upper()}{within}: {problem}; set it in the environment or in settings.env"
