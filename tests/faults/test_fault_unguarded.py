"""What the guards around a run prevent, on the way in, in the ledger, in the sweep; each is taken out."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from infra.message import compose_message, parse_message
from infra.postgres.tag import Standing, Tag, tag_statement
from infra.queue import Received, RequestQueue
from policy.errors import Refused
from policy.names import RunId, incoming_name
from policy.permissions import principal_of
from policy.request import Kind
from policy.wish import Wish
from tasks import manage, take_in, tidy
from tasks.submit import submit
from tests.faults.conftest import Damage
from tests.faults.declaration import CONTACT
from tests.faults.ground import SANDBOX, STAGING, Ground
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery

pytestmark = pytest.mark.slow


@pytest.fixture
def ground(own_ground: Ground) -> Ground:
    """What is damaged stays so."""
    return own_ground


def test_without_the_digest_a_message_that_comes_again_is_done_again(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    body = compose_message(customer="lakeside", site="sandbox", refresh=True)
    asker = principal_of(ground.estate, CONTACT)
    for forget, requests in ((False, 1), (True, 2)):
        found = set()
        for _ in range(2):
            wish = parse_message(body)
            wish = replace(wish, message_digest=None if forget else wish.message_digest)
            request = submit(ground.world, wish, asker).request
            found.add(request.id)
            if request.outcome is None:
                manage.cancel(ground.world, request.id, None, "as if it had ended")
        assert len(found) == requests
        body = compose_message(customer="lakeside", site="sandbox", refresh=True)
    damage(7, "a message that SQS delivers again after its request has ended is carried out a second time")


def test_without_the_refusal_one_bad_message_stops_the_consumer(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    taken: list[str] = []

    def careless(_world: object, _queue: object, message: Received) -> bool:
        taken.append(parse_message(message.body).site.customer)
        return True

    good = compose_message(customer="lakeside", site="sandbox", refresh=True)
    messages = [
        Received(
            body=body,
            receipt="",
            id=str(number),
            receive_count=1,
            sender="x",
            sent_at=ground.world.clock.now(),
        )
        for number, body in enumerate(["{", good])
    ]
    monkeypatch.setattr(RequestQueue, "__init__", lambda *_: None)
    monkeypatch.setattr(RequestQueue, "receive", lambda *_, **__: messages)
    monkeypatch.setattr(take_in, "_deal_with", careless)
    with pytest.raises(Refused):
        take_in.take_in(ground.world)
    assert taken == []
    damage(8, "a message that is no JSON ends the consumer, and the ones behind it wait")


def test_without_the_index_a_site_waits_for_the_same_a_hundred_times(ground: Ground, damage: Damage) -> None:
    asker = principal_of(ground.estate, CONTACT)
    wish = Wish(site=SANDBOX, version=None, refresh=True)
    submit(ground.world, wish, asker)
    with pytest.raises(Refused, match="already has a waiting"):
        submit(ground.world, wish, asker)
    with psycopg.connect(ground.trial.dsn(ground.ledger_database), autocommit=True) as session:
        session.execute("DROP INDEX one_waiting_request_per_site_and_kind")
    for _ in range(100):
        submit(ground.world, wish, asker)
    damage(9, "one contact fills the ledger: a hundred requests wait for the same refresh")


def test_without_asking_whose_it_is_the_sweep_drops_a_look_alike(
    ground: Ground, nursery: Nursery, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    assert trial.work() == 0
    run = RunId.of(trial.request, 1)
    other = f"theirs_{ground.word}"
    name = incoming_name(ground.estate.site(STAGING).database, run).replace(ground.databases[STAGING], other)
    with ground.admin(ground.trial) as session:
        session.execute(
            SQL("CREATE DATABASE {} OWNER {}").format(
                Identifier(name), Identifier(ground.roles["trial-owner"])
            )
        )
        tag = Tag(
            standing=Standing.INCOMING,
            database=ground.estate.site(STAGING).database,
            run=run,
            at=ground.world.clock.now(),
        )
        session.execute(tag_statement(name, replace(tag, database=type(tag.database)(other))))
    list(tidy.tidy(ground.world, dry_run=False))
    assert _exists(ground, name)
    monkeypatch.setattr(tidy, "_ours", lambda *_: True)
    list(tidy.tidy(ground.world, dry_run=False))
    assert not _exists(ground, name)
    damage(26, "the sweep drops a database that another installation is building on the same server")


def _exists(ground: Ground, name: str) -> bool:
    with ground.admin(ground.trial) as session:
        return session.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None
