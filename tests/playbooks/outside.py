"""A user of a site who asks again every 50 ms, and what he saw."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PAUSE_S = 0.05


@dataclass
class Seen:
    """What was seen: time, and the status or 0 for a refused or broken connection."""

    answers: list[tuple[float, int]] = field(default_factory=list)

    def refused(self) -> int:
        return sum(status == 0 for _, status in self.answers)

    def good(self) -> int:
        return sum(status == 200 for _, status in self.answers)

    def downtime_s(self) -> float:
        """From the first bad answer to the first good one after the last bad one."""
        bad = [at for at, status in self.answers if status != 200]
        if not bad:
            return 0.0
        after = [at for at, status in self.answers if status == 200 and at > bad[-1]]
        return (after[0] if after else self.answers[-1][0]) - bad[0]


@contextmanager
def watched(port: int, path: str) -> Iterator[Seen]:
    """Watch a site meanwhile."""
    seen = Seen()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("GET", path)
                status = connection.getresponse().status
            except OSError:
                status = 0
            except http.client.HTTPException:
                status = 0
            finally:
                connection.close()
            seen.answers.append((time.monotonic(), status))
            ended.wait(PAUSE_S)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
