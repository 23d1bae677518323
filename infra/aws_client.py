"""Clients of AWS services, all made here so that each has bounded waits and retries.

Invariant: no call outlives about `attempts × (connect + read)` seconds, and every failure of one becomes an
`Unavailable` that names the service, the operation and the code, never the payload.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.settings import Settings
from policy.errors import Refused, Unavailable

_MAKING = threading.Lock()


def client(
    service: str, settings: Settings, *, connect_s: float = 3, read_s: float = 8, attempts: int = 3
) -> Any:  # noqa: ANN401 - boto3 makes its clients' types at run time; callers annotate with the stub
    """A client of `service` at the settings' endpoint and region.

    Args:
        service: for example `sqs`.
        settings: says where.
        connect_s: longest wait for a connection.
        read_s: longest wait for an answer; a long poll needs its own time and some more.
        attempts: how often in all a call is tried.
    """
    config = Config(
        connect_timeout=connect_s,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    # An emulator on this machine asks for a signature and believes any; AWS itself never sees this one, so a
    # machine without credentials can run the embedded stack.
    signature: dict[str, str] = {}
    if settings.aws_endpoint is not None and _on_this_machine(settings.aws_endpoint):
        signature = {"aws_access_key_id": "embedded", "aws_secret_access_key": "embedded"}
    # Clients may be used by several threads, but a session makes only one at a time.
    with _MAKING:
        return _session().client(
            service,  # type: ignore[call-overload]  # the stub knows services by their literal name
            region_name=settings.aws_region,
            endpoint_url=settings.aws_endpoint,
            config=config,
            **signature,
        )


@contextmanager
def calling(what: str, *, refusals: tuple[str, ...] = ()) -> Iterator[None]:
    """Name the failure of the AWS call in the block.

    Args:
        what: the service and the thing, for example "queue freshet-requests".
        refusals: codes that no repetition of the same call can change.

    Raises:
        Unavailable: the call failed.
        Refused: it failed with one of `refusals`.
    """
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in refusals:
            raise Refused(f"{what}: {error.operation_name} was answered with {code}; correct it") from error
        raise Unavailable(
            f"{what}: {error.operation_name} was answered with {code}; {_remedy(code)}"
        ) from error
    except BotoCoreError as error:
        raise Unavailable(
            f"{what}: no answer ({type(error).__name__}); check the endpoint, the network and the credentials"
        ) from error


@cache
def _session() -> boto3.session.Session:
    """One for all clients, because each session reads the services' descriptions anew."""
    return boto3.session.Session()


def _on_this_machine(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _remedy(code: str) -> str:
    if "NonExistent" in code or "NotExist" in code or "NotFound" in code:
        return "create it, or correct the setting that names it"
    if "Denied" in code or "Unauthorized" in code:
        return "grant this worker's role the operation"
    return "it is tried again"
