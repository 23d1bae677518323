"""What the demo asks for, through the queue, as its contacts would: with repetitions and with nonsense."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import uuid4

from infra.queue import RequestQueue
from policy.names import EmailAddress, SiteId, Version

REPEATED = 5
"""How often the first message is sent, to show that it gives one run."""

NONSENSE = '{"schema": "freshet.request/v1", "customer": "lakeside", "site": "the moon", "refresh": "maybe"}'


@dataclass(frozen=True, kw_only=True)
class DemoWish:
    """One request of the demo, and how it has to end.

    Attributes:
        title: for the table.
        outcome: `done` or `put_back`.
    """

    title: str
    site: SiteId
    version: Version | None
    contact: EmailAddress
    outcome: str


WISHES = (
    DemoWish(
        title="Lakeside's Sandbox refreshed from its Production",
        site=SiteId.parse("lakeside/sandbox"),
        version=None,
        contact=EmailAddress("dana.brooks@lakeside.example.org"),
        outcome="done",
    ),
    DemoWish(
        title="Lakeside's Production and Sandbox upgraded",
        site=SiteId.parse("lakeside/production"),
        version=Version("26.5.0"),
        contact=EmailAddress("dana.brooks@lakeside.example.org"),
        outcome="done",
    ),
    DemoWish(
        title="Harbor's Production upgraded to a broken release",
        site=SiteId.parse("harbor/production"),
        version=Version("24.1.1"),
        contact=EmailAddress("li.okafor@coastal.example.org"),
        outcome="put_back",
    ),
)


def send_all(queue: RequestQueue) -> int:
    """Send every wish, the first of them `REPEATED` times, and one message of nonsense.

    Returns:
        How many messages were sent.
    """
    sent = 0
    for number, wish in enumerate(WISHES):
        body = json.dumps(
            {
                "schema": "freshet.request/v1",
                "message_id": str(uuid4()),
                "customer": wish.site.customer,
                "site": wish.site.environment.value,
                "version": wish.version,
                "refresh": wish.version is None,
                "as": wish.contact,
                "note": wish.title,
            }
        )
        for _ in range(REPEATED if number == 0 else 1):
            queue.send(body)
            sent += 1
    queue.send(NONSENSE)
    return sent + 1
