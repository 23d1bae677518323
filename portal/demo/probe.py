"""Watch sites from outside, as a user would: one request after another, each on a new connection.

Invariant: a site is up exactly when it answers 200; a refused connection, a maintenance page and a request
that takes longer than the time-out all count as down. Runs as a process of its own, so that nothing else
delays it, and writes one JSON line for each change.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from urllib.parse import urlsplit

EVERY_S = 0.05
"""As often as an impatient client tries again (issue of the swap: 50 ms)."""
TIMEOUT_S = 2.0


def answers(host: str, port: int, path: str) -> bool:
    """Whether one request is answered with 200 in time."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def watch(name: str, url: str, stop: threading.Event) -> None:
    """Ask `url` again and again and report each change of its being up."""
    parts = urlsplit(url)
    up: bool | None = None
    while not stop.is_set():
        began = time.time()
        now_up = answers(parts.hostname or "127.0.0.1", parts.port or 80, parts.path or "/")
        if now_up is not up:
            up = now_up
            # A change to "up" counts from the answer, a change to "down" from the request that failed.
            at = time.time() if up else began
            line = {"site": name, "up": up, "at": datetime.fromtimestamp(at, UTC).isoformat()}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        stop.wait(EVERY_S)


def outages(lines: Iterable[str]) -> dict[str, list[tuple[datetime, datetime]]]:
    """When each site was down, from the probe's lines; an outage that never ended is left open until now."""
    changes: dict[str, list[tuple[datetime, bool]]] = {}
    for line in lines:
        entry = json.loads(line)
        changes.setdefault(entry["site"], []).append((datetime.fromisoformat(entry["at"]), entry["up"]))
    return {
        site: [
            (earlier, later)
            for (earlier, up), (later, _) in pairwise([*seen, (datetime.now(UTC), True)])
            if not up
        ]
        for site, seen in changes.items()
    }


def downtime(found: Iterable[tuple[datetime, datetime]], since: datetime, until: datetime) -> float:
    """Seconds of the outages `found` that fall between `since` and `until`."""
    parts = ((max(begin, since), min(end, until)) for begin, end in found)
    return round(sum((end - begin).total_seconds() for begin, end in parts if end > begin), 3)


def main() -> None:
    """`python -m portal.demo.probe NAME=URL …` until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sites", nargs="+", metavar="NAME=URL")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    threads = []
    for pair in parser.parse_args().sites:
        name, _, url = pair.partition("=")
        threads.append(threading.Thread(target=watch, args=(name, url, stop), daemon=True))
    for thread in threads:
        thread.start()
    while not stop.wait(0.2):
        pass
    for thread in threads:
        thread.join(TIMEOUT_S + 1)


if __name__ == "__main__":
    main()
