"""Registers with Prefect's server the automations that `automations.yaml` declares.

Invariant: registering again changes nothing; an automation of the same name that differs is replaced, those
of other names are somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from policy.errors import Unavailable

Automation = Mapping[str, Any]


def declared(path: Path) -> list[Automation]:
    """The automations in the file at `path`."""
    found: list[Automation] = yaml.safe_load(path.read_text(encoding="utf-8"))["automations"]
    return found


def register(api: str, wanted: Sequence[Automation]) -> None:
    """Create those of `wanted` that the server at `api` does not have, and replace those it has.

    Raises:
        Unavailable: it did not take one, or does not answer.
    """
    have = {str(each["name"]): str(each["id"]) for each in _known(api, wanted)}
    for each in wanted:
        known = have.get(str(each["name"]))
        if known is None:
            _ask("POST", f"{api}/automations/", each)
        else:
            _ask("PUT", f"{api}/automations/{known}", each)


def count(api: str, wanted: Sequence[Automation]) -> int:
    """How many of `wanted` the server has by name, and switched on.

    Raises:
        Unavailable: it does not answer.
    """
    return sum(bool(each["enabled"]) for each in _known(api, wanted))


def _known(api: str, wanted: Sequence[Automation]) -> list[Automation]:
    names = {"name": {"any_": [each["name"] for each in wanted]}}
    found: list[Automation] = _ask("POST", f"{api}/automations/filter", {"automations": names}).json()
    return found


def _ask(method: str, url: str, body: Mapping[str, Any]) -> httpx.Response:
    try:
        answer = httpx.request(method, url, json=dict(body), timeout=10.0)
    except httpx.HTTPError as error:
        raise Unavailable(f"Prefect does not answer about automations ({type(error).__name__})") from error
    if not answer.is_success:
        raise Unavailable(f"Prefect did not take an automation: {answer.status_code}")
    return answer
