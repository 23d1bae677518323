"""An end for conversations over a socket, however slowly the other side speaks.

Invariant: a time-out for each read is no end: who sends one byte a second never reaches it. Here the whole
conversation is cut off from outside when its time is up, and the blocked read fails.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def cut_off_after(seconds: float, connection: Callable[[], socket.socket | None]) -> Iterator[None]:
    """Shut the conversation in the block down after `seconds`.

    Args:
        seconds: from now.
        connection: gives the socket, or None while there is none; asked when the time is up.
    """
    over = threading.Event()

    def cut() -> None:
        # A connection that opens only now is cut as well.
        while not over.is_set():
            opened = connection()
            if opened is not None:
                # It may be closed already, and then the conversation has ended anyway.
                with suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)
            over.wait(0.05)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        over.set()
        timer.cancel()
