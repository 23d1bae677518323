"""The on-call channel: a chat's incoming webhook, told when a person is needed at once.

Invariant: the address is a secret, so no error shows it; a post ends within its deadline, follows no
redirection, and is taken for delivered only when the channel said so.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

from infra.socket_deadline import cut_off_after
from policy.errors import Refused, Unavailable

DEADLINE_S = 10
TIMEOUT_S = 5
RETRIED = frozenset({401, 403, 404, 408, 409, 410, 425, 429})
"""Answers that a person or time mends: a renewed address, a lifted limit."""


class OnCallChannel:
    """Posts to one address.

    Args:
        address: http(s), as the chat gave it.
        timeout_s: longest silence.
        deadline_s: longest conversation.
    """

    def __init__(
        self, address: SecretStr, *, timeout_s: float = TIMEOUT_S, deadline_s: float = DEADLINE_S
    ) -> None:
        parts = urlsplit(address.get_secret_value())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Refused("on_call_webhook: the secret is no http address; store the address the chat gave")
        self._parts = parts
        self._timeout_s, self._deadline_s = timeout_s, deadline_s

    def post(self, key: str, payload: Mapping[str, object]) -> None:
        """Post `payload` as JSON, with `key` in the header `Idempotency-Key`.

        Raises:
            Unavailable: the channel does not take it now.
            Refused: the channel will never take it.
        """
        host = str(self._parts.hostname)
        connection = (
            http.client.HTTPSConnection(
                host, self._parts.port, timeout=self._timeout_s, context=ssl.create_default_context()
            )
            if self._parts.scheme == "https"
            else http.client.HTTPConnection(host, self._parts.port, timeout=self._timeout_s)
        )
        path = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        headers = {"Content-Type": "application/json", "Idempotency-Key": key, "Connection": "close"}
        with cut_off_after(self._deadline_s, lambda: connection.sock):
            try:
                connection.request("POST", path, json.dumps(payload), headers)
                status = connection.getresponse().status
            except (OSError, http.client.HTTPException) as error:
                raise Unavailable(
                    f"on-call channel at {host}: no answer ({type(error).__name__}); it is tried again"
                ) from None
            finally:
                connection.close()
        if status in range(200, 300):
            return
        if status in RETRIED or status in range(500, 600):
            raise Unavailable(f"on-call channel at {host}: answered {status}; it is tried again")
        raise Refused(f"on-call channel at {host}: answered {status}; check its address and what it accepts")
