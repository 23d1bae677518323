"""A TCP proxy that cuts: what a pulled cable, a restarted firewall or a dying server looks like to a client.

Invariant: after `cut` no byte passes in either direction and no connection is taken, until `mend`.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial


class Proxy:
    """Passes connections on to a port of this machine.

    Args:
        upstream: the port behind it.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._is_cut = False
        self._left: int | None = None
        self.cuts = 0
        threading.Thread(target=self._accept, name=f"proxy-{upstream}", daemon=True).start()

    def cut(self) -> None:
        """Reset every connection and take no new one."""
        with self._lock:
            self._is_cut = True
            self.cuts += 1
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for side in pair:
                _reset(side)

    def mend(self) -> None:
        """Pass connections on again."""
        with self._lock:
            self._is_cut = False

    def cut_for(self, seconds: float) -> None:
        """Cut, and mend when `seconds` are over."""
        self.cut()
        time.sleep(seconds)
        self.mend()

    def cut_after(self, count: int) -> None:
        """Cut once, after `count` more bytes came from the server, and mend at once."""
        with self._lock:
            self._left = count

    def close(self) -> None:
        """Cut for good."""
        self.cut()
        # Wakes the thread that waits in accept.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                refused = self._is_cut
            if refused:
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream), 5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            for source, sink, counted in ((client, server, False), (server, client, True)):
                pump = partial(self._pump, pair, source, sink, counted=counted)
                threading.Thread(target=pump, daemon=True).start()

    def _pump(
        self,
        pair: tuple[socket.socket, socket.socket],
        source: socket.socket,
        sink: socket.socket,
        *,
        counted: bool,
    ) -> None:
        try:
            while data := source.recv(65536):
                if counted and self._used_up(len(data)):
                    self.cut()
                    self.mend()
                    return
                sink.sendall(data)
        except OSError:
            # A side hung up or was cut: that is what a proxy is for here; both sides learn it below.
            pass
        finally:
            with self._lock:
                self._pairs.discard(pair)
            for side in pair:
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
                side.close()

    def _used_up(self, count: int) -> bool:
        with self._lock:
            if self._left is None:
                return False
            self._left -= count
            if self._left > 0:
                return False
            self._left = None
            return True


def _reset(side: socket.socket) -> None:
    with suppress(OSError):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        side.shutdown(socket.SHUT_RDWR)
    side.close()


@contextmanager
def proxies(**upstreams: int) -> Iterator[dict[str, Proxy]]:
    """A proxy in front of each port, closed afterwards."""
    made = {name: Proxy(port) for name, port in upstreams.items()}
    try:
        yield made
    finally:
        for proxy in made.values():
            proxy.close()
