"""Mail and status servers that refuse or hang change no result; fifty copies of a message count once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from infra.aws_client import client
from infra.ledger import outbox
from infra.message import compose_message
from infra.queue import Received, RequestQueue
from infra.settings import SenderSetting
from policy.errors import Unavailable
from policy.request import Kind, Outcome
from tasks import manage
from tasks import take_in as intake
from tasks.send_outbox import REST, send_outbox
from tasks.take_in import take_in
from tasks.world import World
from tests.faults.conftest import Begin
from tests.faults.declaration import CONTACT, NEW
from tests.faults.ground import PRODUCTION, Ground
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery
from tests.integration.unwell_servers import scripted, silent

CONSUMERS = 5
TIMES = 50


@pytest.fixture
def world(ground: Ground, endpoint: str) -> World:
    """The ground's, with queues and a topic."""
    word = uuid4().hex[:8]
    settings = ground.settings.model_copy(
        update={
            "aws_endpoint": endpoint,
            "queue": f"requests-{word}",
            "dead_letter_queue": f"dead-{word}",
            "status_topic": f"status-{word}",
        }
    )
    sqs = client("sqs", settings)
    sqs.create_queue(QueueName=settings.queue)
    sqs.create_queue(QueueName=settings.dead_letter_queue)
    client("sns", settings).create_topic(Name=settings.status_topic)
    with ground.world.ledger.transaction() as connection:
        connection.execute("delete from outbox")
    return replace(ground.world, settings=settings)


def told(ground: Ground, channel: str) -> dict[str, object]:
    """What a change of a request has really put into the outbox for `channel`."""
    request = ground.ask(Kind.UPGRADE, PRODUCTION, version=NEW)
    manage.cancel(ground.world, request, None, "only its mail was wanted")
    with ground.world.ledger.transaction() as connection:
        row = connection.execute(
            "select payload from outbox where channel = %s limit 1", (channel,)
        ).fetchone()
        connection.execute("delete from outbox")
    assert row is not None
    found: dict[str, object] = dict(row)["payload"]  # type: ignore[assignment]  # the column is jsonb
    return found


def waiting(world: World, channel: str) -> list[dict[str, object]]:
    with world.ledger.transaction() as connection:
        return connection.execute(
            "select attempts, due_at > now() as later from outbox where channel = %s and sent_at is null"
            " and given_up_at is null",
            (channel,),
        ).fetchall()


def given_up(world: World) -> int:
    with world.ledger.transaction() as connection:
        row = connection.execute("select count(*) as n from outbox where given_up_at is not null").fetchone()
    return int(str(row["n"])) if row else 0


@pytest.mark.slow
def test_a_mail_server_that_hangs_costs_one_wait_and_holds_up_no_status(ground: Ground, world: World) -> None:
    payload, status = told(ground, "mail"), told(ground, "status")
    with ground.world.ledger.transaction() as connection:
        for number in range(30):
            outbox.put(connection, channel="mail", key=f"m-{number}", request=None, payload=payload)
            outbox.put(connection, channel="status", key=f"s-{number}", request=None, payload=status)
    with scripted(silent) as port:
        hanging = replace(world, settings=world.settings.model_copy(update={"smtp": f"127.0.0.1:{port}"}))
        began = time.monotonic()
        tried = send_outbox(hanging) + send_outbox(hanging)
        took = time.monotonic() - began
    assert tried == 31
    assert took < 20
    assert waiting(world, "status") == []
    assert given_up(world) == 0
    mails = waiting(world, "mail")
    assert len(mails) == 30
    assert sorted(int(str(mail["attempts"])) for mail in mails) == [0] * 29 + [1]
    assert all(mail["later"] for mail in mails)
    assert REST.total_seconds() > 0


def test_what_rests_is_sent_when_the_server_is_back(ground: Ground, world: World) -> None:
    status = told(ground, "status")
    with ground.world.ledger.transaction() as connection:
        for number in range(3):
            outbox.put(connection, channel="status", key=f"s-{number}", request=None, payload=status)
    away = replace(world, settings=world.settings.model_copy(update={"status_topic": "no-such-topic"}))
    assert send_outbox(away) == 1
    assert send_outbox(world) == 0
    with ground.world.ledger.transaction() as connection:
        connection.execute("update outbox set due_at = now()")
    assert send_outbox(world) == 3
    assert waiting(world, "status") == []
    assert given_up(world) == 0


@pytest.mark.slow
def test_no_server_that_tells_changes_what_a_run_does(ground: Ground, nursery: Nursery, begin: Begin) -> None:
    """Mail, status and on-call all lead nowhere on this ground, in this test as in every other one."""
    trial = Trial(ground, nursery, Kind.REFRESH)
    assert trial.work() == 0
    assert trial.judge(Outcome.DONE) == []
    sweep = begin("sweep")
    assert sweep.wait() == 0
    with ground.world.ledger.transaction() as connection:
        row = connection.execute(
            "select count(*) filter (where sent_at is null) as kept, count(*) as n"
            " from outbox where request = %s",
            (trial.request.number,),
        ).fetchone()
    assert row is not None
    assert row["kept"] == row["n"]
    assert int(str(row["n"])) >= 4


def test_one_message_fifty_times_to_five_consumers_is_one_request(
    ground: Ground, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "WAIT_S", 1)
    queue = RequestQueue(world.settings)
    body = compose_message(customer="lakeside", site="sandbox", refresh=True, on_behalf_of=str(CONTACT))
    queue.send(body)
    (probe,) = queue.receive(wait_s=1)
    senders = {probe.sender: SenderSetting(speaks_for_others=True)}
    known = replace(world, settings=world.settings.model_copy(update={"senders": senders}))
    queue.extend(probe, 0)
    for _ in range(TIMES - 1):
        queue.send(body)

    def consume(_: int) -> int:
        taken = 0
        while count := take_in(known):
            taken += count
        return taken

    with ThreadPoolExecutor(CONSUMERS) as pool:
        taken = sum(pool.map(consume, range(CONSUMERS)))
    assert taken == TIMES
    depth = queue.depth()
    assert (depth.waiting, depth.in_flight, depth.dead) == (0, 0, 0)
    with ground.world.ledger.transaction() as connection:
        found = connection.execute(
            "select number from request where kind = 'refresh' and environment = 'sandbox'"
        ).fetchall()
        events = connection.execute(
            "select verb from event where request = %s", (found[0]["number"],)
        ).fetchall()
        refused = connection.execute("select count(*) as n from event where verb = 'refuse'").fetchone()
        taken_in = connection.execute("select count(*) as n from intake").fetchone()
    assert len(found) == 1
    assert [event["verb"] for event in events] == ["submit"]
    assert refused == {"n": 0}
    assert taken_in == {"n": 1}


def test_a_consumer_that_dies_before_it_deletes_leaves_no_second_request(
    ground: Ground, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has committed, the message comes again, and meets its own digest."""
    monkeypatch.setattr(intake, "WAIT_S", 1)
    queue = RequestQueue(world.settings)
    body = compose_message(customer="lakeside", site="production", version="2.0.0", on_behalf_of=str(CONTACT))
    queue.send(body)
    (first,) = queue.receive(wait_s=1)
    senders = {first.sender: SenderSetting(speaks_for_others=True)}
    known = replace(world, settings=world.settings.model_copy(update={"senders": senders}))
    queue.extend(first, 0)
    lost: list[Received] = []

    def fail(_: RequestQueue, received: list[Received]) -> None:
        lost.extend(received)
        raise Unavailable("the queue went away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RequestQueue, "delete_all", fail)
        with pytest.raises(Unavailable):
            take_in(known)
    queue.extend(lost[0], 0)
    assert take_in(known) == 1
    with ground.world.ledger.transaction() as connection:
        row = connection.execute(
            "select count(*) as n from request where kind = 'upgrade' and outcome is null"
        ).fetchone()
    assert row == {"n": 1}
    assert queue.depth().waiting == 0
