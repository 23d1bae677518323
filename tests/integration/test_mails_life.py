"""The whole life of a request as its people read it: real mails, their times, their dates, their threads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from infra.aws_client import client
from infra.settings import Settings
from infra.stack.cluster import Cluster
from policy.journal import Finish
from policy.names import EmailAddress, SiteId
from tasks import manage
from tasks.remind import remind
from tasks.reschedule import reschedule
from tasks.send_outbox import send_outbox
from tests.integration.request_worlds import (
    DANA,
    ENGINEER,
    LI,
    LIVE,
    NOW,
    SANDBOX,
    SUNDAY_WINDOW,
    WEEK,
    RequestWorld,
    request_world,
)
from tests.integration.unwell_servers import Inbox, serving
from tests.ports import free_port

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ON_CALL = "on-call@hosting.example.org"


@dataclass(frozen=True, kw_only=True)
class Post:
    """A world whose mails and status events arrive."""

    world: RequestWorld
    inbox: Inbox
    settings: Settings
    queue: str

    def deliver(self) -> None:
        """Send everything that the outbox holds."""
        while send_outbox(self.world.world):
            pass

    def at(self, moment: datetime) -> None:
        """Let the dispatcher's round happen at `moment`, and deliver."""
        self.world.plan_at(moment)
        remind(self.world.world)
        self.deliver()

    def new(self, to: EmailAddress | str) -> list[EmailMessage]:
        """What `to` has in the inbox, which is then emptied for them."""
        found = [message for message in self.inbox.messages if str(to) in str(message["To"])]
        self.inbox.messages = [message for message in self.inbox.messages if message not in found]
        return found

    def statuses(self) -> list[tuple[str, str]]:
        """The status events so far, in the order of their numbers."""
        sqs = client("sqs", self.settings)
        bodies = []
        while found := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            bodies += [json.loads(json.loads(message["Body"])["Message"]) for message in found]
            for message in found:
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return [(body["request"], body["to"]) for body in sorted(bodies, key=lambda body: body["event"])]


@pytest.fixture
def post(live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path, endpoint: str) -> Iterator[Post]:
    inbox = Inbox()
    with (
        serving(Controller(inbox, hostname="127.0.0.1", port=free_port())) as server,
        request_world(
            live_cluster,
            trial_cluster,
            tmp_path,
            smtp=f"127.0.0.1:{server.port}",
            aws_endpoint=endpoint,
            status_topic=tmp_path.name,
        ) as world,
    ):
        world.install("lakeside/live", "23.1.0")
        settings = world.world.settings
        sns, sqs = client("sns", settings), client("sqs", settings)
        topic = sns.create_topic(Name=tmp_path.name)["TopicArn"]
        queue = sqs.create_queue(QueueName=tmp_path.name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        yield Post(world=world, inbox=inbox, settings=settings, queue=queue)


def text(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return " ".join(str(body.get_content()).split())


def calendar(message: EmailMessage) -> dict[str, str]:
    """The properties of the message's calendar entry; empty without one."""
    parts = [part for part in message.walk() if part.get_content_type() == "text/calendar"]
    if not parts:
        return {}
    lines = str(parts[0].get_content()).replace("\r\n ", "").replace("\n ", "").splitlines()
    return dict(line.split(":", 1) for line in lines)


def kinds(messages: list[EmailMessage]) -> list[str]:
    """What each mail is about, from its id."""
    return [str(message["X-Freshet-Key"]).split(".")[-2] for message in messages]


def test_an_upgrade_from_the_wish_to_the_next_step(post: Post) -> None:
    world = post.world
    number = world.ask(LIVE, by=DANA, version="26.5.0")
    post.at(NOW)
    told = post.new(DANA)
    assert kinds(told) == ["accepted", "scheduled"]
    scheduled = told[1]
    assert "Sunday 22 November 2026, 04:00 CST (America/Chicago)" in text(scheduled)
    first = calendar(scheduled)
    assert (first["METHOD"], first["DTSTART"], first["STATUS"]) == (
        "REQUEST",
        "20261122T100000Z",
        "CONFIRMED",
    )

    # Beyond the change of the clocks: the same hour of the morning is another hour in UTC.
    reschedule(world.world, number, DANA, "2027-03-14 04:00", "")
    post.deliver()
    (moved,) = post.new(DANA)
    assert "Moved to Sunday 14 March 2027, 04:00 CDT (America/Chicago)." in text(moved)
    assert "The earlier date, Sunday 22 November 2026, 04:00 CST (America/Chicago), no longer holds." in text(
        moved
    )
    second = calendar(moved)
    assert (second["METHOD"], second["DTSTART"]) == ("REQUEST", "20270314T090000Z")
    assert second["UID"] == first["UID"]
    assert int(second["SEQUENCE"]) > int(first["SEQUENCE"])

    start = datetime(2027, 3, 14, 9, 0, tzinfo=UTC)
    read = []
    for before in (7 * DAY, 6 * DAY, 5 * DAY, DAY, 2 * HOUR, HOUR / 2, HOUR / 4):
        post.at(start - before)
        read.append(kinds(post.new(DANA)))
    # The week's digest on Mondays, two reminders, and the notice to log out; each once.
    assert [[kind for kind in found if kind != "digest"] for found in read] == [
        [],
        ["reminder"],
        [],
        ["reminder"],
        [],
        ["log-out"],
        [],
    ]
    world.clock.at = start
    ended = world.carry_out(number, took=20 * timedelta(minutes=1))
    post.deliver()
    started, completed = post.new(DANA)
    assert kinds([started, completed]) == ["started", "completed"]
    assert "Log in again." in text(completed)
    assert "20 min" in text(completed)
    assert ended.outcome is not None

    mails = [*told, moved, started, completed]
    assert len({message["Message-ID"] for message in mails}) == len(mails)
    assert len({message["References"] for message in mails}) == 1
    assert {message["In-Reply-To"] for message in mails} == {mails[0]["References"]}
    assert len({re.sub(r"^Re: ", "", str(message["Subject"])) for message in mails}) == 1
    assert post.statuses() == [
        (number, status) for status in ("Scheduled", "Scheduled", "Not Started", "In Progress", "Completed")
    ]
    assert send_outbox(world.world) == 0


def test_everybody_reads_the_date_in_their_own_zone(post: Post) -> None:
    post.world.ask(SANDBOX, by=ENGINEER, at=SUNDAY_WINDOW)
    post.at(NOW)
    dana, engineer = post.new(DANA)[-1], post.new(ENGINEER)[-1]
    assert "Sunday 22 November 2026, 04:00 CST (America/Chicago)" in text(dana)
    assert "Sunday 22 November 2026, 10:00 UTC" in text(engineer)
    assert calendar(dana)["DTSTART"] == calendar(engineer)["DTSTART"] == "20261122T100000Z"
    assert dana["References"] == engineer["References"]
    assert dana["Message-ID"] != engineer["Message-ID"]
    assert post.new(LI) == []


def test_a_missed_night_is_told_with_its_reason_and_the_new_date(post: Post) -> None:
    number = post.world.ask(SANDBOX, by=DANA, at=SUNDAY_WINDOW)
    post.at(NOW)
    first = calendar(post.new(DANA)[-1])
    post.at(SUNDAY_WINDOW + 5 * HOUR)
    (moved,) = [message for message in post.new(DANA) if kinds([message]) == ["moved"]]
    assert "Moved to Monday 23 November 2026, 04:00 CST" in text(moved)
    assert "It could not begin by Sunday 22 November 2026, 08:00 CST" in text(moved)
    assert calendar(moved)["UID"] == first["UID"]
    manage.cancel(post.world.world, number, DANA, "Not needed any more.")
    post.deliver()
    (cancelled,) = post.new(DANA)
    gone = calendar(cancelled)
    assert (gone["METHOD"], gone["STATUS"], gone["UID"]) == ("CANCEL", "CANCELLED", first["UID"])
    assert "Not needed any more." in text(cancelled)


@pytest.mark.parametrize(
    ("finish", "kind", "words"),
    [(Finish.PUT_BACK, "put-back", "as it was before"), (Finish.STUCK, "stuck", "locked")],
)
def test_a_failure_says_whether_the_site_is_as_before(
    post: Post, finish: Finish, kind: str, words: str
) -> None:
    number = post.world.ask(SANDBOX, by=DANA)
    post.at(NOW)
    post.new(DANA)
    post.world.carry_out(number, finish, took=HOUR / 4)
    post.deliver()
    told = post.new(DANA)
    assert kinds(told) == ["started", kind]
    assert words in text(told[1])
    assert "Next: " in text(told[1])
    assert kinds(post.new(ON_CALL)) == (["stuck-on-call"] if finish is Finish.STUCK else [])


def test_the_end_of_the_undo_period_is_told_a_day_before_and_only_while_it_matters(post: Post) -> None:
    sites = [SANDBOX, SiteId.parse("harbor/sandbox")]
    numbers = [post.world.ask(site, by=who) for site, who in zip(sites, (DANA, LI), strict=True)]
    post.at(NOW)
    for number in numbers:
        post.world.carry_out(number, took=HOUR / 4)
    manage.undo(post.world.world, numbers[1], LI, "")
    post.at(post.world.clock.at)
    post.new(DANA), post.new(LI)
    ended = NOW + HOUR / 4
    read = []
    for moment in (ended + 6 * DAY - HOUR, ended + 6 * DAY + HOUR, ended + 6 * DAY + 2 * HOUR, ended + WEEK):
        post.at(moment)
        read.append([kind for kind in kinds(post.new(DANA) + post.new(LI)) if kind == "undo-expiring"])
    assert read == [[], ["undo-expiring"], [], []]


def test_the_digest_comes_on_monday_morning_local_time(post: Post) -> None:
    number = post.world.ask(SANDBOX, by=DANA, at=NOW + 5 * DAY)
    monday = datetime(2026, 11, 23, 13, 0, tzinfo=UTC)  # 07:00 in Chicago
    post.at(NOW)
    post.at(monday - timedelta(minutes=1))
    assert "digest" not in kinds(post.new(DANA))
    post.at(monday + 10 * timedelta(minutes=1))
    (digest,) = post.new(DANA)
    assert kinds([digest]) == ["digest"]
    assert f"{number} Sandbox of Lakeside Schools" in text(digest)
    assert "Times are in your zone, America/Chicago." in text(digest)
    for later in (HOUR, DAY, 3 * DAY):
        post.at(monday + later)
    assert "digest" not in kinds(post.new(DANA))
