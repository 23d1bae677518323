"""The queue of requests: against a real SQS endpoint on this machine, and against some that are not well."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import pytest

from infra.aws_client import calling, client
from infra.message import compose_message, parse_message
from infra.queue import DEAD_BODY_BYTES, RequestQueue
from infra.settings import Settings
from policy.errors import Refused, Unavailable
from tests.ports import free_port


@pytest.fixture
def settings(endpoint: str) -> Settings:
    name = f"requests-{uuid4().hex[:8]}"
    made = Settings(aws_endpoint=endpoint, queue=name, dead_letter_queue=f"{name}-dead")
    sqs = client("sqs", made)
    dead = sqs.create_queue(QueueName=made.dead_letter_queue)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    sqs.create_queue(QueueName=made.queue, Attributes={"RedrivePolicy": redrive})
    return made


def dead_letters(settings: Settings) -> list[dict[str, Any]]:
    sqs = client("sqs", settings)
    url = sqs.get_queue_url(QueueName=settings.dead_letter_queue)["QueueUrl"]
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
    return list(answer.get("Messages", []))


def test_a_message_stays_until_it_is_deleted(settings: Settings) -> None:
    queue = RequestQueue(settings)
    body = compose_message(customer="lakeside", site="sandbox", refresh=True, note="Grüße ✓")
    sent = queue.send(body)
    (first,) = queue.receive(wait_s=1)
    assert (first.body, first.id, first.receive_count) == (body, sent, 1)
    assert first.sender
    assert first.sent_at.tzinfo is not None
    assert queue.receive(wait_s=0) == []
    queue.extend(first, 0)
    (second,) = queue.receive(wait_s=1)
    assert (second.id, second.receive_count) == (first.id, 2)
    assert second.receipt != first.receipt
    assert (queue.depth().waiting, queue.depth().in_flight) == (0, 1)
    queue.delete(second)
    assert (queue.depth().waiting, queue.depth().in_flight, queue.depth().dead) == (0, 0, 0)


def test_the_same_request_sent_five_times_has_one_digest(settings: Settings) -> None:
    queue = RequestQueue(settings)
    body = compose_message(customer="lakeside", site="sandbox", refresh=True)
    for _ in range(5):
        queue.send(body)
    received = queue.receive(wait_s=1)
    assert len(received) == 5
    assert len({message.id for message in received}) == 5
    assert len({parse_message(message.body).message_digest for message in received}) == 1


def test_many_are_deleted_together(settings: Settings) -> None:
    queue = RequestQueue(settings)
    for number in range(13):
        queue.send(str(number))
    received = [*queue.receive(wait_s=1), *queue.receive(wait_s=1)]
    assert len(received) == 13
    queue.delete_all([])
    queue.delete_all(received[:12])
    assert (queue.depth().waiting, queue.depth().in_flight) == (0, 1)
    gone = replace(received[12], receipt="of a delivery that has ended")
    queue.delete_all([gone, received[12]])
    assert queue.depth().in_flight == 0, "the others of the batch are deleted"


def test_what_the_queue_keeps_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = RequestQueue(settings)
    queue.send("x")
    received = queue.receive(wait_s=1)
    kept = {"Failed": [{"Id": "0", "SenderFault": False, "Code": "InternalError"}]}
    monkeypatch.setattr(RequestQueue, "_delete_batch", lambda *_: kept)
    with pytest.raises(Unavailable, match=r"1 of 1 messages were not deleted \(InternalError\)"):
        queue.delete_all(received)


@pytest.mark.parametrize(
    "body",
    [
        "nonsense",
        "{" * 5000,
        "\t \n",
        "x" * 200_000,
        "é" * 100_000,
        json.dumps({"schema": "freshet.request/v1", "customer": "\u0000"}),
    ],
    ids=["words", "nested", "blank", "long", "wide", "nul"],
)
def test_poison_goes_to_the_dead_letters_with_its_reason_and_stops_nobody(
    settings: Settings, body: str
) -> None:
    queue = RequestQueue(settings)
    queue.send(body)
    queue.send(compose_message(customer="lakeside", site="sandbox", refresh=True))
    read = 0
    for received in queue.receive(wait_s=1):
        try:
            parse_message(received.body)
            queue.delete(received)
            read += 1
        except Refused as refused:
            queue.dead_letter(received, str(refused))
    assert read == 1
    assert (queue.depth().waiting, queue.depth().in_flight, queue.depth().dead) == (0, 0, 1)
    (dead,) = dead_letters(settings)
    assert body.startswith(dead["Body"])
    assert len(dead["Body"].encode()) <= DEAD_BODY_BYTES
    attributes = {name: value["StringValue"] for name, value in dead["MessageAttributes"].items()}
    assert ": " in attributes["reason"]
    assert int(attributes["body_bytes"]) == len(body.encode())
    assert attributes["message"]
    assert attributes["sender"]


def test_a_reason_of_any_characters_is_carried(settings: Settings) -> None:
    queue = RequestQueue(settings)
    for reason in ["", "a\0b\x1b[2J\ud800", "x" * 100_000]:
        queue.send("nonsense")
        (received,) = queue.receive(wait_s=1)
        queue.dead_letter(received, reason)
    reasons = sorted(
        (dead["MessageAttributes"]["reason"]["StringValue"] for dead in dead_letters(settings)), key=len
    )
    assert reasons[0] == "(none)"
    assert reasons[1] == "a\ufffdb\ufffd[2J\ufffd"
    assert len(reasons[2]) == 2000


def test_who_never_deletes_fills_the_dead_letters_not_the_queue(settings: Settings) -> None:
    queue = RequestQueue(settings)
    queue.send("kept by a consumer that always dies")
    for _ in range(3):
        (received,) = queue.receive(wait_s=1)
        queue.extend(received, 0)
    assert queue.receive(wait_s=0) == []
    assert queue.depth().dead == 1


def test_a_queue_that_does_not_exist_is_named_with_the_remedy(settings: Settings) -> None:
    queue = RequestQueue(settings.model_copy(update={"queue": "absent"}))
    with pytest.raises(Unavailable, match=r"queue absent: GetQueueUrl .*create it, or correct the setting"):
        queue.receive(wait_s=0)


def test_nobody_listening_is_unavailable_soon() -> None:
    queue = RequestQueue(Settings(aws_endpoint=f"http://127.0.0.1:{free_port()}"))
    started = time.monotonic()
    with pytest.raises(Unavailable, match="queue freshet-requests: no answer"):
        queue.send("x")
    assert time.monotonic() - started < 20


def test_an_endpoint_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(aws_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        sqs = client("sqs", settings, read_s=0.3, attempts=2)
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"queue q: no answer \(ReadTimeoutError\)"), calling("queue q"):
            sqs.get_queue_url(QueueName="q")
        assert time.monotonic() - started < 15


class FailsOnce(BaseHTTPRequestHandler):
    """Answers the first call with 503 and the second as SQS would."""

    answered: list[int] = []  # noqa: RUF012 - counts over the handlers of one test

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status = 200 if self.answered else 503
        self.answered.append(status)
        body = json.dumps({"QueueUrl": "http://127.0.0.1/000000000000/q"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


def test_an_endpoint_that_fails_once_is_asked_again() -> None:
    server = HTTPServer(("127.0.0.1", 0), FailsOnce)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        settings = Settings(aws_endpoint=f"http://127.0.0.1:{server.server_port}")
        with calling("queue"):
            url = client("sqs", settings).get_queue_url(QueueName="q")["QueueUrl"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
    assert url.endswith("/q")
    assert FailsOnce.answered == [503, 200]
