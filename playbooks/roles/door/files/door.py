"""The front door of a web application: a relay that always listens where users knock.

It exists so that a release can be switched, started and checked while users see a page, not a refused
connection, and so that nobody's write gets in between the start of a new release and its verdict.

Invariant: the listening port is never given up while the application is stopped, switched or started. What a
site does is read from its state file, so a restarted door goes on as before. A page never promises a time
that has passed. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import html
import json
import os
import signal
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

TICK_S = 0.04
"""How often a closed door looks around."""
REST_S = 0.5
"""How often an open one does; it is woken by SIGUSR1."""
HEAD_LIMIT = 16 * 1024
HEAD_TIMEOUT_S = 10.0
QUIET_S = 0.1
"""A connection whose last answer is this old has no request in flight."""
CONNECTIONS_LIMIT = 1024
PATIENCE_S = 15.0
"""How long an open door waits for the application to listen, for example while it restarts."""
PASS_HEADER = b"x-freshet-pass:"


class Relay:
    """One user's connection to the application."""

    def __init__(self, writer: asyncio.StreamWriter, *, passed: bool) -> None:
        self.writer = writer
        self.passed = passed
        self.asking = True
        self.answered_at = time.monotonic()

    def quiet(self) -> bool:
        """Whether no request of this connection is in flight."""
        return not self.asking and time.monotonic() - self.answered_at > QUIET_S

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, asks: bool) -> None:
        """Carry bytes one way until the sender is done."""
        while data := await source.read(65536):
            self.asking = asks
            if not asks:
                self.answered_at = time.monotonic()
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            with contextlib.suppress(OSError):
                sink.write_eof()


class Door:
    """The door of one site."""

    def __init__(self, name: str, folder: Path, listen: tuple[str, int], backend: tuple[str, int]) -> None:
        self.name = name
        self.state_file = folder / f"{name}.json"
        self.told_file = folder / f"{name}.told.json"
        self.listen = listen
        self.backend = backend
        self.state: dict[str, object] = {"mode": "open", "serial": ""}
        self.stamp: tuple[int, int] | None = None
        self.told: tuple[object, ...] | None = None
        self.relays: set[Relay] = set()
        self.connections = 0

    def mode(self) -> str:
        """`open`, `hold` (requests wait) or `maintenance` (requests get the page)."""
        mode = str(self.state["mode"])
        expired = (lapses := _instant(self.state.get("lease_until"))) is not None and lapses <= _now()
        # A lease that nobody renews ends by itself where that is safe: a hold always is.
        return "open" if expired and (mode == "hold" or self.state.get("on_expiry") == "open") else mode

    def look(self) -> None:
        """Take over a changed state file, end idle connections of a closed door, and tell what is so."""
        try:
            found = os.stat(self.state_file)
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self.stamp:
                self.stamp = stamp
                self.state = _read_state(self.state_file)
        except FileNotFoundError:
            self.state = {"mode": "open", "serial": ""}
            self.stamp = None
        except ValueError as error:
            # A door that dies of a bad file would shut everybody out; it stays as it is and says so.
            sys.stderr.write(f"{self.state_file}: kept as it was: {error}\n")
        mode = self.mode()
        users = [relay for relay in self.relays if not relay.passed]
        if mode != "open":
            for relay in users:
                if relay.quiet():
                    relay.writer.close()
        told = (self.state["serial"], mode, len(users) if mode != "open" else 0)
        if told != self.told:
            text = json.dumps({"serial": told[0], "mode": told[1], "busy": told[2], "pid": os.getpid()})
            making = self.told_file.with_suffix(".making")
            making.write_text(text, encoding="utf-8")
            making.replace(self.told_file)
            self.told = told

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from the first byte to the last."""
        self.connections += 1
        try:
            if self.connections > CONNECTIONS_LIMIT:
                await self._answer(writer, b"", 503, "Too many connections", 5)
            else:
                await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError):
            pass  # The other side went away or sent no request: nobody is left to tell.
        except asyncio.CancelledError:
            pass  # The door is being ended, and with it every connection.
        finally:
            self.connections -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self.mode() == "hold":  # noqa: ASYNC110 - it also ends by the clock, which sets no event
            await asyncio.sleep(TICK_S)
        if self.mode() == "open":
            await self._relay(reader, writer, b"", passed=False)
            return
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIMEOUT_S)
        if self._may_pass(head):
            await self._relay(reader, writer, head, passed=True)
            return
        until = _instant(self.state.get("until_utc"))
        text = str(self.state.get("text") or "This site is being updated.")
        if until is not None and until > _now():
            wait = int((until - _now()).total_seconds()) + 1
            text = f"{text} It is expected back by {self.state.get('until_local') or until.isoformat()}."
        else:
            wait = 60
            text = f"{text} It is taking longer than planned; it comes back as soon as it is ready."
        await self._answer(writer, head, 503, text, min(wait, 120))
        # The rest of an upload is read, since closing on unread bytes would destroy the answer on its way.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_drain(reader), 2.0)

    def _may_pass(self, head: bytes) -> bool:
        digest = str(self.state.get("pass_sha256") or "")
        for line in head.split(b"\r\n")[1:]:
            if digest and line.lower().startswith(PASS_HEADER):
                shown = hashlib.sha256(line[len(PASS_HEADER) :].strip()).hexdigest()
                return hmac.compare_digest(shown, digest)
        return False

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, *, passed: bool
    ) -> None:
        relay = Relay(writer, passed=passed)
        self.relays.add(relay)
        behind_writer = None
        try:
            behind = await self._reach()
            if behind is None:
                await self._answer(writer, head, 502, "The application does not answer.", 10)
                return
            behind_reader, behind_writer = behind
            behind_writer.write(head)
            relay.asking = True
            # The application ends a connection by answering to its end; what is still sent is void then.
            asking = asyncio.ensure_future(_ask(relay, reader, behind_writer))
            try:
                await relay.pump(behind_reader, writer, asks=False)
            finally:
                asking.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await asking
        finally:
            self.relays.discard(relay)
            if behind_writer is not None:
                behind_writer.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await asyncio.open_connection(*self.backend)
            except OSError:
                if time.monotonic() > give_up:
                    return None
                await asyncio.sleep(TICK_S)

    async def _answer(
        self, writer: asyncio.StreamWriter, head: bytes, status: int, text: str, retry_after: int
    ) -> None:
        reason = {502: "Bad Gateway", 503: "Service Unavailable"}[status]
        if b"application/json" in head.lower():
            kind, body = "application/json", json.dumps({"code": status, "error": reason, "message": text})
        else:
            kind, body = "text/html; charset=utf-8", _PAGE.format(text=html.escape(text))
        sent = b"" if head.startswith(b"HEAD ") else body.encode()
        writer.write(
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body.encode())}\r\n"
            f"Retry-After: {retry_after}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
            + sent
        )
        await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Update in progress</title><style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 18vh auto; padding: 0 1rem }}
</style></head><body><h1>We will be right back</h1><p>{text}</p></body></html>
"""


def _read_state(path: Path) -> dict[str, object]:
    state = json.loads(path.read_text(encoding="utf-8"))
    if (
        not isinstance(state, dict)
        or state.get("mode") not in {"open", "hold", "maintenance"}
        or "serial" not in state
    ):
        raise ValueError("mode or serial is missing")
    _instant(state.get("until_utc"))
    _instant(state.get("lease_until"))
    return dict(state)


async def _ask(relay: Relay, reader: asyncio.StreamReader, behind: asyncio.StreamWriter) -> None:
    try:
        await relay.pump(reader, behind, asks=True)
    except OSError:
        # The user is gone without a farewell: the application need not keep the connection.
        behind.close()


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _instant(text: object) -> datetime | None:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else None


async def main(folder: Path) -> None:
    """Open every door of `folder / "door.json"` and keep it until told to end."""
    declared = json.loads((folder / "door.json").read_text(encoding="utf-8"))
    doors = [
        Door(name, folder, (site["listen"], site["port"]), (site["backend_address"], site["backend_port"]))
        for name, site in sorted(declared.items())
    ]
    ended, woken = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: (ended.set(), woken.set()))
    loop.add_signal_handler(signal.SIGUSR1, woken.set)
    for door in doors:
        door.look()
        await asyncio.start_server(door.serve, *door.listen, limit=HEAD_LIMIT, backlog=512)
    while not ended.is_set():
        woken.clear()
        for door in doors:
            door.look()
        resting = all(door.state["mode"] == "open" for door in doors)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(woken.wait(), REST_S if resting else TICK_S)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path, help="holds door.json and the sites' state files")
    asyncio.run(main(arguments.parse_args().folder))
