"""The stack's own secrets: made once at random, one file each, open to their owner only.

Invariant: a secret that exists is never overwritten, and none appears anywhere but in its file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from infra.secrets import SecretFiles
from policy.names import CustomerName, SecretName

ADMIN = {cluster: SecretName(f"{cluster}-admin") for cluster in ("control", "live", "trial")}
LIVE_OWNER = SecretName("live-owner")
LIVE_READER = SecretName("live-reader")
TRIAL_OWNER = SecretName("trial-owner")
LEDGER = SecretName("ledger")
PREFECT = SecretName("prefect")
SUPERVISOR = SecretName("supervisor")
STACK = (*ADMIN.values(), LIVE_OWNER, LIVE_READER, TRIAL_OWNER, LEDGER, PREFECT, SUPERVISOR)


def of_customer(customer: CustomerName) -> tuple[SecretName, SecretName]:
    """The masking key of `customer`, and the password of its application's administrator."""
    return SecretName(f"mask-{customer}"), SecretName(f"kinto-{customer}")


def create(directory: Path, names: Iterable[SecretName]) -> SecretFiles:
    """Make those of `names` that are missing in `directory`."""
    for name in names:
        path = directory / name
        if path.exists():
            continue
        # Written aside and linked: a killed `up` leaves no empty secret, and a rival's file is kept.
        aside = directory / f".{name}.{os.getpid()}"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
        try:
            os.link(aside, path)
        except FileExistsError:
            continue
        finally:
            aside.unlink()
    return SecretFiles(directory)


def write_passfile(path: Path, *, port: int, database: str, user: str, password: str) -> None:
    """Write a libpq password file for one log-in, replacing an older one in one step."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"127.0.0.1:{port}:{database}:{user}:{escaped}\n")
    aside.replace(path)
