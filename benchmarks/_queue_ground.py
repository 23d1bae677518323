"""What the queue is measured on: an estate of many customers, a ledger, SQS over HTTP, consumer processes.

Invariant: everything is this ground's own and gone when it closes; consumers are the real `take_in`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
import psycopg
from psycopg.sql import SQL, Identifier

from benchmarks._queue_estate import ENGINEER, PREVIEW, PRODUCTION, SANDBOX, STAGING, declaration
from infra.aws_client import client
from infra.ledger.migrate import migrate
from infra.message import compose_message
from infra.queue import RequestQueue
from infra.settings import Settings
from infra.stack.cluster import Cluster
from tests.ports import free_port

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

PROJECT = Path(__file__).parents[1]
HELD_S = 15
"""For how long SQS keeps a message from the other consumers."""
AHEAD = 100
"""The sender is so many requests ahead at most: the emulator counts all waiting messages three times for each
that it gives out, so with thousands of them its own arithmetic would be all that is measured."""
KINDS = (
    (PRODUCTION, "upgrade"),
    (SANDBOX, "refresh"),
    (STAGING, "upgrade"),
    (STAGING, "refresh"),
    (PREVIEW, "upgrade"),
    (PREVIEW, "refresh"),
)
"""What can wait at once for one customer."""
SERVE = """
from moto.sqs.models import Queue
from moto.server import main
delete = Queue.delete_message
def delete_alone(self, receipt):
    with self._messages_lock:
        delete(self, receipt)
Queue.delete_message = delete_alone
main()
"""
"""The emulator by itself forgets messages that arrive while it deletes another one."""
CONSUME = """
import sys
import tasks.take_in
from tasks.world import open_world
tasks.take_in.WAIT_S = 1
world = open_world()
print("ready", flush=True)
while True:
    tasks.take_in.take_in(world)
"""


class Wanted(NamedTuple):
    """One request that has to be in the ledger at the end, once."""

    customer: str
    site: str
    kind: str


class Consumer:
    """A process that takes in what the queue brings."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-c", CONSUME], cwd=PROJECT, env=environment, stdout=file, stderr=file
            )

    def memory(self) -> int:
        """Resident bytes, 0 when it has died."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def kill(self) -> None:
        """End it without a word."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it; it must still live, or it was not the consumer that it should be."""
        assert self._process.poll() is None, "a consumer died by itself; its log says why"
        self.kill()


class QueueGround:
    """An estate with as many sites as `requests` needs, and what takes them in.

    Args:
        folder: an empty one.
        requests: how many.
        cluster: for the ledger; it runs.
        endpoint: where SQS answers.
    """

    def __init__(self, folder: Path, requests: int, cluster: Cluster, endpoint: str) -> None:
        self._folder, self._cluster = folder, cluster
        self.wanted = [
            Wanted(f"c{number // len(KINDS)}", *KINDS[number % len(KINDS)]) for number in range(requests)
        ]
        self.sent = 0
        self._given_up = threading.Event()
        self._database = "queue_ledger"
        with psycopg.connect(cluster.dsn(), autocommit=True) as session:
            session.execute(SQL("CREATE DATABASE {}").format(Identifier(self._database)))
        migrate(cluster.dsn(self._database), None)
        estate = folder / "estate.yaml"
        told = declaration(folder, (each.customer for each in self.wanted))
        estate.write_text(json.dumps(told), encoding="utf-8")
        (folder / "secrets").mkdir(mode=0o700)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("FRESHET_", "AWS_"))
        }
        self.environment = {
            **kept,
            "FRESHET_STATE_DIR": str(folder),
            "FRESHET_ESTATE": str(estate),
            "FRESHET_SECRETS_DIR": str(folder / "secrets"),
            "FRESHET_LEDGER": cluster.dsn(self._database),
            "FRESHET_AWS_ENDPOINT": endpoint,
        }
        self.settings = Settings(aws_endpoint=endpoint)
        self._sqs: SQSClient = client("sqs", self.settings, read_s=30)
        for name in (self.settings.queue, self.settings.dead_letter_queue):
            self._sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": str(HELD_S)})
        self.environment["FRESHET_SENDERS"] = json.dumps({self._principal(): {"speaks_for_others": True}})

    def consumer(self) -> Consumer:
        """Start one more."""
        return Consumer(self.environment, self._folder / "consumers.log")

    def sender(self, *, twice_every: int) -> threading.Thread:
        """Send everything, some of it twice, from a thread of its own."""
        thread = threading.Thread(target=self._send_all, args=(twice_every,), name="sender")
        thread.start()
        return thread

    def give_up(self) -> None:
        """Send no more."""
        self._given_up.set()

    def taken(self) -> int:
        """How many requests the ledger holds."""
        row = self._ledger.execute("SELECT count(*) FROM request").fetchone()
        return int(row[0]) if row else 0

    def found(self) -> Counter[Wanted]:
        """How often each request is in the ledger."""
        rows = self._ledger.execute("SELECT customer, environment, kind FROM request").fetchall()
        return Counter(Wanted(*row) for row in rows)

    def is_empty(self) -> bool:
        """Whether no message waits and none is worked on."""
        depth = self._queue.depth()
        return (depth.waiting, depth.in_flight) == (0, 0)

    def dead(self) -> int:
        """How many messages were put aside."""
        return self._queue.depth().dead

    def close(self) -> None:
        """Forget the ledger."""
        self._ledger.close()
        with psycopg.connect(self._cluster.dsn(), autocommit=True) as session:
            session.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(self._database)))

    @cached_property
    def _ledger(self) -> psycopg.Connection:
        return psycopg.connect(self._cluster.dsn(self._database), autocommit=True)

    @cached_property
    def _queue(self) -> RequestQueue:
        return RequestQueue(self.settings)

    def _principal(self) -> str:
        queue = self._queue
        queue.send("who am I?")
        (probe,) = queue.receive(wait_s=1)
        queue.delete(probe)
        return probe.sender

    def _send_all(self, twice_every: int) -> None:
        url = self._sqs.get_queue_url(QueueName=self.settings.queue)["QueueUrl"]
        bodies: list[str] = []
        for number, each in enumerate(self.wanted, start=1):
            upgrade = each.kind == "upgrade"
            body = compose_message(
                customer=each.customer,
                site=each.site,
                version="2.0.0" if upgrade else None,
                refresh=not upgrade,
                on_behalf_of=ENGINEER,
            )
            bodies += [body, body] if number % twice_every == 0 else [body]
        sent: set[str] = set()
        for start in range(0, len(bodies), 10):
            entries: list[SendMessageBatchRequestEntryTypeDef] = [
                {"Id": str(place), "MessageBody": body}
                for place, body in enumerate(bodies[start : start + 10])
            ]
            while len(sent) - self.taken() > AHEAD:
                if self._given_up.wait(0.05):
                    return
            sent.update(bodies[start : start + 10])
            answer = self._sqs.send_message_batch(QueueUrl=url, Entries=entries)
            self.sent += len(answer["Successful"])


@contextmanager
def queue_ground(folder: Path, requests: int, cluster: Cluster | None = None) -> Iterator[QueueGround]:
    """A ground for so many requests; with a cluster of its own unless one is given."""
    if cluster is not None:
        with _sqs(folder) as endpoint:
            ground = QueueGround(folder, requests, cluster, endpoint)
            try:
                yield ground
            finally:
                ground.close()
        return
    own = Cluster(data=folder / "ledger", port=free_port())
    own.initialise()
    own.start()
    try:
        with queue_ground(folder, requests, own) as ground:
            yield ground
    finally:
        own.stop(fast=False)


@contextmanager
def _sqs(folder: Path) -> Iterator[str]:
    """SQS over HTTP, in a process of its own."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with (folder / "sqs.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=1).close()  # noqa: S310 - loopback
            except OSError:
                time.sleep(0.1)
            else:
                break
        yield endpoint
    finally:
        process.kill()
        process.wait()
