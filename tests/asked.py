"""A request as somebody asked for it, for tests that need one without a queue."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from policy.names import EmailAddress, RequestId, SiteId
from policy.request import Kind, Request


def asked_for(number: str, site: SiteId, *, at: datetime, **said: Any) -> Request:  # noqa: ANN401 - any field
    """A refresh of `site` that waits for its date, unless said otherwise."""
    plain = Request(
        id=RequestId(number),
        kind=Kind.REFRESH,
        site=site,
        version=None,
        refresh=True,
        asked_by=EmailAddress("ann@lakeside.example.org"),
        asked_at=at,
        not_before=None,
        start_by=None,
    )
    return replace(plain, **said)
