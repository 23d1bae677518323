"""Status events on a real SNS topic, mail through SES, and calls to the on-call channel."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import pytest
from pydantic import SecretStr

from infra.aws_client import client
from infra.delivery import Transports, deliver, open_transports
from infra.ledger.outbox import OutboxEntry
from infra.mail import SesTransport, SmtpTransport
from infra.secrets import SecretFiles
from infra.settings import Settings
from infra.status_events import PUBLISHED, StatusTopic, schema
from infra.webhook import OnCallChannel
from policy.errors import Refused, Unavailable
from policy.lifecycle import Event
from policy.names import EmailAddress, SecretName
from policy.notice import Channel
from policy.notices import Change, notices_for
from policy.request import Outcome, Status
from tests.integration.unwell_servers import Script, dialogue, dripping, scripted, silent
from tests.ports import free_port
from tests.unit.notice_estate import NOW, ON_CALL, estate, upgrade

ROOT = Path(__file__).parents[2]
FROM = EmailAddress("updates@hosting.example.org")
NO_SECRETS = SecretFiles(Path("/nonexistent"))


def test_ses_takes_the_same_message(endpoint: str) -> None:
    settings = Settings(aws_endpoint=endpoint, mail_through="ses", mail_from=FROM)
    ways_out = open_transports(settings, NO_SECRETS)
    assert isinstance(ways_out.mail, SesTransport)
    mail = stuck_entry(Channel.MAIL)
    with pytest.raises(Unavailable, match="SendEmail was answered with MessageRejected"):
        deliver(mail, ways_out)
    client("ses", settings).verify_email_identity(EmailAddress=FROM)
    deliver(mail, ways_out)


STATUS_PAYLOAD: dict[str, object] = {
    "schema": "freshet.status/v1",
    "event": 317,
    "request": "R42",
    "kind": "refresh",
    "site": "lakeside/sandbox",
    "from": "Scheduled",
    "to": "Not Started",
    "outcome": None,
    "at": "2026-11-22T08:00:00+00:00",
    "scheduled_for": "2026-11-22T08:00:00+00:00",
    "reason": "Größe ✓",
}


@pytest.fixture
def topic(endpoint: str) -> tuple[Settings, str]:
    """A topic with a queue that listens to it; the queue's address."""
    name = f"status-{uuid4().hex[:8]}"
    settings = Settings(aws_endpoint=endpoint, status_topic=name)
    sqs, sns = client("sqs", settings), client("sns", settings)
    for other in range(120):
        # More than one page of topics, and names that contain ours.
        sns.create_topic(Name=f"{name}-{other}")
    arn = sns.create_topic(Name=name)["TopicArn"]
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
    return settings, url


def status_entry(**changed: object) -> OutboxEntry:
    return OutboxEntry(
        id=1, channel="status", key="status-317", payload=STATUS_PAYLOAD | changed, attempts=1, created_at=NOW
    )


def test_a_status_event_reaches_the_subscriber_with_its_id(topic: tuple[Settings, str]) -> None:
    settings, url = topic
    ways_out = open_transports(settings, NO_SECRETS)
    deliver(status_entry(), ways_out)
    (received,) = client("sqs", settings).receive_message(QueueUrl=url)["Messages"]
    envelope = json.loads(received["Body"])
    event = json.loads(envelope["Message"])
    assert event == {
        **STATUS_PAYLOAD,
        "at": "2026-11-22T08:00:00Z",
        "scheduled_for": "2026-11-22T08:00:00Z",
    }
    attributes = {name: value["Value"] for name, value in envelope["MessageAttributes"].items()}
    assert attributes == {
        "message_id": "status-317",
        "site": "lakeside/sandbox",
        "request": "R42",
        "status": "Not Started",
    }


@pytest.mark.parametrize(
    "change", [{"to": "Finished"}, {"extra": 1}, {"at": "2026-11-22T08:00:00"}, {"event": None}]
)
def test_what_is_no_status_event_is_refused_for_good(endpoint: str, change: dict[str, object]) -> None:
    with pytest.raises(Refused, match=next(iter(change))):
        deliver(status_entry(**change), open_transports(Settings(aws_endpoint=endpoint), NO_SECRETS))


def test_a_topic_that_is_not_there_is_unavailable_by_name_and_by_arn(endpoint: str) -> None:
    for name in ("absent", "arn:aws:sns:us-east-1:123456789012:absent"):
        settings = Settings(aws_endpoint=endpoint, status_topic=name)
        with pytest.raises(Unavailable, match="absent"):
            deliver(status_entry(), open_transports(settings, NO_SECRETS))


def test_an_endpoint_that_is_away_is_unavailable() -> None:
    settings = Settings(aws_endpoint=f"http://127.0.0.1:{free_port()}", status_topic="arn:aws:sns:x:1:t")
    with pytest.raises(Unavailable, match="no answer"):
        deliver(status_entry(), open_transports(settings, NO_SECRETS))


def stuck_entry(channel: Channel) -> OutboxEntry:
    stuck = upgrade(status=Status.UNABLE_TO_COMPLETE, outcome=Outcome.STUCK, reason="rename failed.")
    change = Change(event=Event.STICK, number=9, at=NOW, before=upgrade(), after=stuck, run="r43a1")
    notices = notices_for(change, estate=estate(), on_call=ON_CALL, webhook=True)
    notice = next(notice for notice in notices if notice.channel is channel)
    return OutboxEntry(
        id=9,
        channel=channel.value,
        key=notice.key,
        payload=notice.payload(),
        attempts=1,
        created_at=NOW,
    )


class Chat(http.server.BaseHTTPRequestHandler):
    """Answers with the status that its server was given, and keeps what was posted."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.posts.append((self.path, self.headers["Idempotency-Key"], json.loads(body)))
        self.send_response(server.status)
        self.send_header("Content-Length", "0")
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@pytest.fixture
def chat() -> Iterator[Any]:
    server: Any = http.server.HTTPServer(("127.0.0.1", 0), Chat)
    server.posts, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def ways(on_call: OnCallChannel | None) -> Transports:
    """Only the on-call channel leads anywhere."""
    smtp = SmtpTransport(host="127.0.0.1", port=9, sender=FROM)
    topic = StatusTopic(Settings(aws_endpoint="http://127.0.0.1:9"))
    return Transports(mail=smtp, mail_from=FROM, status=topic, on_call=on_call)


def to_chat(port: int, **bounds: float) -> Transports:
    return ways(OnCallChannel(SecretStr(f"http://127.0.0.1:{port}/hooks/T0ken?room=on-call"), **bounds))


def test_on_call_is_told_in_its_channel(chat: Any) -> None:  # noqa: ANN401 - a server with whatever it was sent
    deliver(stuck_entry(Channel.WEBHOOK), to_chat(chat.server_port))
    ((path, key, payload),) = chat.posts
    assert path == "/hooks/T0ken?room=on-call"
    assert key == stuck_entry(Channel.WEBHOOK).key
    assert payload["text"].startswith("STUCK R43")
    assert "freshet request clear R43" in payload["text"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (503, Unavailable),
        (429, Unavailable),
        (404, Unavailable),
        (302, Refused),
        (400, Refused),
        (413, Refused),
    ],
)
def test_what_the_channel_answers_says_whether_to_try_again(
    chat: Any,  # noqa: ANN401 - a server with whatever it was sent
    status: int,
    error: type[Exception],
) -> None:
    chat.status = status
    with pytest.raises(error, match=str(status)) as caught:
        deliver(stuck_entry(Channel.WEBHOOK), to_chat(chat.server_port))
    assert "T0ken" not in str(caught.value)
    assert len(chat.posts) == 1


@pytest.mark.parametrize("script", [silent, dripping, dialogue(b"")], ids=["silent", "dripping", "closing"])
def test_a_channel_that_is_unwell_is_given_up_in_time(script: Script) -> None:
    with scripted(script) as port:
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            deliver(stuck_entry(Channel.WEBHOOK), to_chat(port, timeout_s=0.5, deadline_s=1))
        assert time.monotonic() - started < 10
    assert "T0ken" not in str(caught.value)


def test_settings_and_secrets_make_the_transports(tmp_path: Path, chat: Any) -> None:  # noqa: ANN401 - a server with whatever it was sent
    for name, value in {"mail": "mail-t0ken", "chat": f"http://127.0.0.1:{chat.server_port}/x"}.items():
        (tmp_path / name).write_text(value)
        (tmp_path / name).chmod(0o600)
    settings = Settings(
        smtp="127.0.0.1:25",
        smtp_user="freshet",
        smtp_secret=SecretName("mail"),
        on_call_webhook=SecretName("chat"),
    )
    made = open_transports(settings, SecretFiles(tmp_path))
    assert isinstance(made.mail, SmtpTransport)
    deliver(stuck_entry(Channel.WEBHOOK), made)
    assert len(chat.posts) == 1


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (Settings(smtp="mail.example.org"), "smtp: "),
        (Settings(smtp="mail.example.org:x"), "smtp: "),
        (Settings(smtp_user="freshet"), "smtp_secret: "),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(settings: Settings, field: str) -> None:
    with pytest.raises(Refused, match=field):
        open_transports(settings, NO_SECRETS)


def test_an_address_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(Refused) as caught:
        OnCallChannel(SecretStr("file:///etc/T0ken"))
    assert "T0ken" not in str(caught.value)


def test_an_unknown_channel_and_a_missing_one_are_refused() -> None:
    pigeon = OutboxEntry(id=1, channel="pigeon", key="k", payload={}, attempts=1, created_at=NOW)
    with pytest.raises(Refused, match="pigeon"):
        deliver(pigeon, ways(None))
    with pytest.raises(Refused, match="FRESHET_ON_CALL_WEBHOOK"):
        deliver(stuck_entry(Channel.WEBHOOK), ways(None))


def test_the_published_schema_is_the_models_and_events_obey_it() -> None:
    published = json.loads((ROOT / PUBLISHED).read_text(encoding="utf-8"))
    assert published == schema(), f"write infra.status_events.schema() to {PUBLISHED}"
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(STATUS_PAYLOAD, published)
