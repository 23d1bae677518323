"""The embedded stack without Prefect, which alone takes most of its start; also a program for tests to kill.

Run as: `python -m tests.small_stack up|down STATE PORT_BASE`.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from infra.stack.service import Service
from infra.stack.stack import Stack


class SmallStack(Stack):
    """Everything but Prefect's server and worker."""

    def services(self) -> tuple[Service, ...]:
        """The services whose start takes a second or two."""
        return tuple(service for service in super().services() if not service.name.startswith("prefect"))


def main(verb: str, state: str, base: str) -> None:
    """Do `verb` and tell what happens on stdout."""

    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    # Whoever runs the tests in the background may have it ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stack = SmallStack.wanted(state=Path(state), port_base=int(base), tell=tell)
    stack.up() if verb == "up" else stack.down()


if __name__ == "__main__":
    main(*sys.argv[1:])
