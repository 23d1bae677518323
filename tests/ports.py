"""Free ports for tests, so that two runs of the suite on one machine do not meet.

Invariant: no port is given out twice in one run, however many processes share the tests among them.
"""

from __future__ import annotations

import os
import random
import socket

FIRST, LAST = 18_000, 32_000
"""Below the range from which the kernel hands out ports for outgoing connections."""

_given: set[int] = set()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now and that was not given out before."""
    return free_base(1)


def free_base(count: int = 30) -> int:
    """The first of `count` consecutive ports on 127.0.0.1 that nobody listens on now."""
    first, last = _own_share()
    for _ in range(200):
        base = random.randrange(first, last - count)  # noqa: S311 - a port, not a secret
        wanted = range(base, base + count)
        if _given.isdisjoint(wanted) and all(_is_free(port) for port in wanted):
            _given.update(wanted)
            return base
    raise RuntimeError("no free range of ports on this machine")


def _own_share() -> tuple[int, int]:
    """The part of the range that belongs to this process of the suite."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    size = (LAST - FIRST) // count
    return FIRST + number * size, FIRST + (number + 1) * size


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
