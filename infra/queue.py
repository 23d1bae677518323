"""The SQS queue on which requests arrive.

Invariant: a message leaves the queue only by `delete`, `delete_all` or `dead_letter`, which the caller does
after the ledger has committed. A message that cannot be read never stands in the way of the next one: it goes
to the dead-letter queue with its reason, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from infra.aws_client import calling, client
from infra.settings import Settings
from policy.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import (
        DeleteMessageBatchRequestEntryTypeDef,
        DeleteMessageBatchResultTypeDef,
        MessageAttributeValueTypeDef,
    )

T = TypeVar("T")

LONGEST_POLL_S = 20
MOST_AT_ONCE = 10
LONGEST_HOLD_S = 43_200
DEAD_BODY_BYTES = 128 * 1024
"""A dead letter's body is cut here, so that body and reason together fit into every queue's limit."""
REASON_CHARACTERS = 2000
NOT_OURS = "ReceiptHandleIsInvalid"
"""How SQS calls a delivery that has ended."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """One delivery of one message.

    Attributes:
        body: as it came, unchecked.
        receipt: stands for this delivery; a later delivery of the same message has another.
        id: the queue's id of the message.
        receive_count: 1 at the first delivery.
        sender: the principal that the queue authenticated; never taken from the body.
    """

    body: str
    receipt: str
    id: str
    receive_count: int
    sender: str
    sent_at: datetime


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How many messages there are, as far as the queue knows; SQS calls these numbers approximate.

    Attributes:
        waiting: nobody has them.
        in_flight: received, not deleted yet.
        dead: in the dead-letter queue.
    """

    waiting: int
    in_flight: int
    dead: int


class RequestQueue:
    """The queue of requests and the dead-letter queue beside it.

    Args:
        settings: names the queues and their endpoint.
    """

    def __init__(self, settings: Settings) -> None:
        self._name = settings.queue
        self._dead_name = settings.dead_letter_queue
        # The answer to a long poll may take the poll's whole time.
        self._sqs: SQSClient = client("sqs", settings, read_s=LONGEST_POLL_S + 5)
        self._urls: dict[str, str] = {}

    def receive(self, wait_s: int = LONGEST_POLL_S, most: int = MOST_AT_ONCE) -> list[Received]:
        """Wait up to `wait_s` seconds for up to `most` messages.

        Raises:
            Unavailable: the queue does not answer.
        """
        answer = self._call(
            self._name,
            lambda url: self._sqs.receive_message(
                QueueUrl=url,
                WaitTimeSeconds=min(wait_s, LONGEST_POLL_S),
                MaxNumberOfMessages=min(most, MOST_AT_ONCE),
                MessageSystemAttributeNames=["SenderId", "ApproximateReceiveCount", "SentTimestamp"],
            ),
        )
        return [
            Received(
                body=message.get("Body", ""),
                receipt=message["ReceiptHandle"],
                id=message["MessageId"],
                receive_count=int(message["Attributes"]["ApproximateReceiveCount"]),
                sender=message["Attributes"]["SenderId"],
                sent_at=datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC),
            )
            for message in answer.get("Messages", [])
        ]

    def delete(self, received: Received) -> None:
        """Take a message off the queue; the ledger has it now.

        Raises:
            Unavailable: the queue does not answer; the message comes again, and its digest is known then.
        """
        self._call(
            self._name, lambda url: self._sqs.delete_message(QueueUrl=url, ReceiptHandle=received.receipt)
        )

    def delete_all(self, received: Sequence[Received]) -> None:
        """Take messages off the queue, up to ten with one call; the ledger has all of them now.

        Raises:
            Unavailable: the queue does not answer, or keeps some; these come again, and their digests are
                known then.
        """
        for start in range(0, len(received), MOST_AT_ONCE):
            entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                {"Id": str(place), "ReceiptHandle": each.receipt}
                for place, each in enumerate(received[start : start + MOST_AT_ONCE])
            ]
            answer = self._call(self._name, partial(self._delete_batch, entries))
            # One that was given to somebody else meanwhile, or is gone, is not ours to delete any more.
            failed = [each for each in answer.get("Failed", []) if each["Code"] != NOT_OURS]
            if failed:
                codes = ", ".join(sorted({each["Code"] for each in failed}))
                raise Unavailable(
                    f"queue {self._name}: {len(failed)} of {len(entries)} messages were not deleted"
                    f" ({codes}); they come again and are known"
                )

    def _delete_batch(
        self, entries: list[DeleteMessageBatchRequestEntryTypeDef], url: str
    ) -> DeleteMessageBatchResultTypeDef:
        return self._sqs.delete_message_batch(QueueUrl=url, Entries=entries)

    def dead_letter(self, received: Received, reason: str) -> None:
        """Put a message aside with its reason.

        A crash between the two calls leaves it in both queues: it is put aside again, never lost.

        Raises:
            Unavailable: a queue does not answer; the message comes again.
        """
        body = received.body.encode("utf-8", "replace")
        cut = body[:DEAD_BODY_BYTES].decode("utf-8", "ignore")
        attributes: dict[str, MessageAttributeValueTypeDef] = {
            "reason": _text(reason[:REASON_CHARACTERS]),
            "message": _text(received.id),
            "sender": _text(received.sender),
            "body_bytes": {"DataType": "Number", "StringValue": str(len(body))},
        }
        self._call(
            self._dead_name,
            lambda url: self._sqs.send_message(
                QueueUrl=url, MessageBody=_sendable(cut) or "(empty)", MessageAttributes=attributes
            ),
        )
        self.delete(received)

    def extend(self, received: Received, seconds: int) -> None:
        """Keep a delivery hidden from other consumers for `seconds` from now; 0 gives it back at once.

        Raises:
            Unavailable: the queue does not answer, or the delivery has ended.
        """
        hold = max(0, min(seconds, LONGEST_HOLD_S))
        self._call(
            self._name,
            lambda url: self._sqs.change_message_visibility(
                QueueUrl=url, ReceiptHandle=received.receipt, VisibilityTimeout=hold
            ),
        )

    def send(self, body: str) -> str:
        """Send a message and return the queue's id of it.

        Raises:
            Unavailable: the queue does not take it.
        """
        answer = self._call(self._name, lambda url: self._sqs.send_message(QueueUrl=url, MessageBody=body))
        return answer["MessageId"]

    def depth(self) -> Depth:
        """How many messages wait, are worked on, and were put aside.

        Raises:
            Unavailable: a queue does not answer.
        """
        waiting, in_flight = self._counts(self._name)
        return Depth(waiting=waiting, in_flight=in_flight, dead=sum(self._counts(self._dead_name)))

    def _counts(self, name: str) -> tuple[int, int]:
        answer = self._call(
            name,
            lambda url: self._sqs.get_queue_attributes(
                QueueUrl=url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesDelayed",
                    "ApproximateNumberOfMessagesNotVisible",
                ],
            ),
        )
        counts = {what: int(count) for what, count in answer["Attributes"].items()}
        waiting = counts["ApproximateNumberOfMessages"] + counts["ApproximateNumberOfMessagesDelayed"]
        return waiting, counts["ApproximateNumberOfMessagesNotVisible"]

    def _call(self, name: str, call: Callable[[str], T]) -> T:
        with calling(f"queue {name}"):
            if name not in self._urls:
                self._urls[name] = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]
            return call(self._urls[name])


def _text(value: str) -> MessageAttributeValueTypeDef:
    # An attribute may not be empty.
    return {"DataType": "String", "StringValue": _sendable(value) or "(none)"}


def _sendable(text: str) -> str:
    """Characters that SQS takes: XML 1.0's, so no NUL and no other control characters."""
    return "".join(
        c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "\ufffd"
        for c in text
    )
