"""Free ports for tests, so that two runs of the suite on one machine do not meet."""

from __future__ import annotations

import random
import socket

_given: set[int] = set()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now and that this process has not given out before."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


def free_base(count: int = 30) -> int:
    """The first of `count` consecutive ports on 127.0.0.1 that nobody listens on now."""
    for _ in range(200):
        # Below the range from which the kernel hands out ports for outgoing connections.
        base = random.randrange(18_000, 32_000, count)  # noqa: S311
        wanted = range(base, base + count)
        if _given.isdisjoint(wanted) and all(_is_free(port) for port in wanted):
            _given.update(wanted)
            return base
    raise RuntimeError("no free range of ports on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
