"""The ledger refuses by itself what must not happen, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest

from infra.ledger import lease, outbox, requests, runs
from infra.ledger.connection import Ledger
from infra.ledger.migrate import migrate
from infra.stack.cluster import Cluster
from policy.errors import Busy, Refused, Unavailable
from policy.journal import Direction, EntryState
from policy.names import DatabaseName, RequestId, RunId, ServerName, SiteId, Version
from policy.request import Kind, Outcome, Status
from tests.asked import asked_for
from tests.integration.at_once import at_once
from tests.integration.ledgers import fresh_ledger

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SANDBOX = SiteId.parse("lakeside/sandbox")
WEBAPP = "lakeside/live"
DATABASE = (ServerName("trial"), DatabaseName("lakeside_sandbox"))


@pytest.fixture
def ledger(trial_cluster: Cluster) -> Iterator[Ledger]:
    with fresh_ledger(trial_cluster) as made:
        yield made


def ask(ledger: Ledger, *, site: SiteId = SANDBOX, kind: Kind = Kind.REFRESH) -> RequestId:
    with ledger.transaction() as connection:
        wanted = asked_for(
            requests.next_number(connection),
            site,
            at=NOW,
            kind=kind,
            version=Version("26.5.0") if kind is Kind.UPGRADE else None,
            refresh=kind is Kind.REFRESH,
        )
        return requests.insert(connection, wanted, webapp=WEBAPP).id


def begin(ledger: Ledger, request: RequestId, attempt: int = 1) -> RunId:
    run = RunId.of(request, attempt)
    with ledger.transaction() as connection:
        runs.begin(connection, run=run, webapp=WEBAPP, databases=[DATABASE])
    return run


def test_a_request_comes_back_as_it_was_written(ledger: Ledger) -> None:
    number = ask(ledger)
    with ledger.transaction() as connection:
        found = requests.get(connection, number)
    assert found.id == "R1"
    assert (found.site, found.kind, found.status, found.outcome) == (
        SANDBOX,
        Kind.REFRESH,
        Status.TO_BE_SCHEDULED,
        None,
    )
    assert found.asked_at == NOW


def test_migrating_twice_changes_nothing(trial_cluster: Cluster, ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        name = connection.execute("select current_database() as name").fetchone()
        before = connection.execute("select count(*) as n from transition").fetchone()
    assert name is not None
    assert migrate(trial_cluster.dsn(str(name["name"])), None) == []
    with ledger.transaction() as connection:
        assert connection.execute("select count(*) as n from transition").fetchone() == before


def test_an_edited_migration_is_refused(trial_cluster: Cluster, ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        connection.execute("update migration set digest = 'another'")
        name = connection.execute("select current_database() as name").fetchone()
    assert name is not None
    with pytest.raises(Refused, match="was changed after it was applied"):
        migrate(trial_cluster.dsn(str(name["name"])), None)


def test_a_second_waiting_request_of_a_site_and_kind_is_refused(ledger: Ledger) -> None:
    ask(ledger)
    with pytest.raises(Refused, match="already has a waiting refresh"):
        ask(ledger)
    assert ask(ledger, kind=Kind.UPGRADE)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("Completed", "done"),
        ("In Progress", None),
        ("Unable to Complete", "stuck"),
        ("Not Started", None),
        ("Unable to Complete", None),
        ("Scheduled", "done"),
    ],
)
def test_the_database_refuses_a_jump(ledger: Ledger, status: str, outcome: str | None) -> None:
    number = ask(ledger)
    with pytest.raises(psycopg.errors.CheckViolation), ledger.transaction() as connection:
        connection.execute(
            "update request set status = %s, outcome = %s where number = %s", (status, outcome, number.number)
        )
    with ledger.transaction() as connection:
        assert requests.get(connection, number).status is Status.TO_BE_SCHEDULED


def test_the_database_lets_the_table_through(ledger: Ledger) -> None:
    number = ask(ledger)
    path = [Status.SCHEDULED, Status.NOT_STARTED, Status.IN_PROGRESS]
    for status in path:
        with ledger.transaction() as connection:
            requests.update(connection, number, {"status": status})
    with ledger.transaction() as connection:
        requests.update(connection, number, {"status": Status.COMPLETED, "outcome": Outcome.DONE})
        assert requests.get(connection, number).outcome is Outcome.DONE


def test_a_request_is_not_born_completed(ledger: Ledger) -> None:
    with pytest.raises(psycopg.errors.CheckViolation), ledger.transaction() as connection:
        connection.execute(
            "insert into request"
            " (kind, customer, environment, webapp, refresh, asked_by, asked_at, status, outcome)"
            " values ('refresh', 'x', 'sandbox', 'x/live', true, 'a@b.org', now(), 'Completed', 'done')"
        )


@pytest.mark.parametrize("statement", ["update event set verb = 'x'", "delete from event", "truncate event"])
def test_events_stay(ledger: Ledger, statement: str) -> None:
    number = ask(ledger)
    with ledger.transaction() as connection:
        requests.write_event(connection, at=NOW, verb="submit", actor="test", request=number)
    with pytest.raises(psycopg.errors.CheckViolation), ledger.transaction() as connection:
        connection.execute(statement)
    with ledger.transaction() as connection:
        assert [event["verb"] for event in requests.events(connection, number)] == ["submit"]


def test_one_live_run_per_web_application_and_database(ledger: Ledger) -> None:
    refresh, upgrade = ask(ledger), ask(ledger, kind=Kind.UPGRADE)
    run = begin(ledger, refresh)
    with pytest.raises(Busy, match="another run works on"):
        begin(ledger, upgrade)
    with ledger.transaction() as connection:
        runs.end(connection, run, stuck=False, report="")
    begin(ledger, upgrade)


def test_a_stuck_run_keeps_its_site_locked(ledger: Ledger) -> None:
    run = begin(ledger, ask(ledger))
    with ledger.transaction() as connection:
        runs.end(connection, run, stuck=True, report="")
    with pytest.raises(Busy):
        begin(ledger, ask(ledger, kind=Kind.UPGRADE))


def test_a_lease_is_held_by_one_and_its_epoch_grows(ledger: Ledger) -> None:
    run = begin(ledger, ask(ledger))
    with ledger.transaction() as connection:
        first = lease.take(connection, webapp=WEBAPP, run=run, holder="a", lease_seconds=60)
    with pytest.raises(Busy, match="another worker holds"), ledger.transaction() as connection:
        lease.take(connection, webapp=WEBAPP, run=run, holder="b", lease_seconds=60)
    with ledger.transaction() as connection:
        connection.execute("update lease set renewed_at = now() - interval '2 minutes'")
        second = lease.take(connection, webapp=WEBAPP, run=run, holder="b", lease_seconds=60)
    assert second == first + 1
    with pytest.raises(Busy, match="was taken over"), ledger.transaction() as connection:
        lease.prove(connection, webapp=WEBAPP, run=run, epoch=first)
    with ledger.transaction() as connection:
        lease.prove(connection, webapp=WEBAPP, run=run, epoch=second)


def test_of_many_that_take_at_once_one_gets_it(ledger: Ledger) -> None:
    run = begin(ledger, ask(ledger))
    got: list[str] = []

    def worker(name: str) -> None:
        try:
            with ledger.transaction() as connection:
                lease.take(connection, webapp=WEBAPP, run=run, holder=name, lease_seconds=60)
            got.append(name)
        except Busy:
            pass

    at_once(*(partial(worker, str(number)) for number in range(8)))
    assert len(got) == 1


def test_the_journal_keeps_intent_and_outcome(ledger: Ledger) -> None:
    run = begin(ledger, ask(ledger))
    with ledger.transaction() as connection:
        runs.intend(connection, run, "copy", 0, 1)
        assert [entry.state for entry in runs.journal(connection, run)] == [EntryState.INTENDED]
        runs.outcome(connection, run, "copy", state=EntryState.DONE, epoch=1, facts={"rows": 7}, seconds=1.5)
        runs.outcome(connection, run, "copy", state=EntryState.UNDONE, epoch=2, undo_seconds=0.5)
        runs.turn_back(connection, run, "the disk is full")
        (entry,) = runs.journal(connection, run)
        found = runs.last(connection, run.request)
    assert (entry.facts, entry.seconds, entry.undo_seconds) == ({"rows": 7}, 1.5, 0.5)
    assert found is not None
    assert (found.direction, found.cause) == (Direction.BACK, "the disk is full")


def test_an_abandoned_run_is_found_and_a_renewed_one_is_not(ledger: Ledger) -> None:
    run = begin(ledger, ask(ledger))
    with ledger.transaction() as connection:
        lease.take(connection, webapp=WEBAPP, run=run, holder="a", lease_seconds=30)
        assert runs.abandoned(connection, 30) == []
        connection.execute("update lease set renewed_at = now() - interval '31 seconds'")
        assert [found.id for found in runs.abandoned(connection, 30)] == [run]


def test_an_outbox_entry_is_given_out_once_and_tried_again_later(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        for _ in range(3):
            outbox.put(connection, channel="mail", key="same", request=None, payload={"to": "ann"})
    with ledger.transaction() as connection:
        (entry,) = outbox.claim(connection, limit=10)
        assert outbox.claim(connection, limit=10) == []
        outbox.failed(connection, entry, error="refused", permanent=False)
        assert outbox.claim(connection, limit=10) == []
        connection.execute("update outbox set due_at = now()")
        (again,) = outbox.claim(connection, limit=10)
        assert again.attempts == 2
        outbox.sent(connection, again)
        connection.execute("update outbox set due_at = now()")
        assert outbox.claim(connection, limit=10) == []


def test_an_entry_that_cannot_be_sent_is_given_up_with_its_error(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        outbox.put(connection, channel="mail", key="bad", request=None, payload={})
        (entry,) = outbox.claim(connection, limit=10)
        outbox.failed(connection, entry, error="no such mailbox", permanent=True)
        row = connection.execute("select last_error, given_up_at is not null as over from outbox").fetchone()
    assert row == {"last_error": "no such mailbox", "over": True}


def test_a_ledger_that_is_away_is_unavailable_at_once() -> None:
    ledger = Ledger("host=127.0.0.1 port=1 dbname=none user=nobody")
    with pytest.raises(Unavailable, match="does not answer"), ledger.transaction():
        pass


def write_and_refuse(ledger: Ledger, backends: set[int]) -> None:
    with ledger.transaction() as connection:
        backends.add(connection.info.backend_pid)
        connection.execute("insert into event (at, verb, actor) values (now(), 'refuse', 'test')")
        raise Refused("on purpose")


def ask_and_lose(ledger: Ledger, trial_cluster: Cluster) -> None:
    """Ask for a refresh, and write more in a transaction whose session the server ends."""
    with ledger.kept() as kept:
        ask(kept)
        with kept.transaction() as connection:
            requests.update(connection, RequestId("R1"), {"reason": "never written"})
            with psycopg.connect(trial_cluster.dsn(), autocommit=True) as admin:
                admin.execute("select pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))


def numbers(ledger: Ledger) -> int:
    with ledger.transaction() as connection:
        row = connection.execute("select count(*) as n from request").fetchone()
    return int(str(row["n"])) if row else 0


def test_transactions_on_a_kept_connection_are_each_their_own(ledger: Ledger) -> None:
    sites = [SiteId.parse(f"lakeside/{name}") for name in ("sandbox", "staging", "preview")]
    backends: set[int] = set()
    with ledger.kept() as kept:
        for site in sites:
            with pytest.raises(Refused, match="on purpose"):
                write_and_refuse(kept, backends)
            ask(kept, site=site)
            assert numbers(ledger) == sites.index(site) + 1, "it is committed before the next one begins"
        with pytest.raises(RuntimeError, match="within"), kept.transaction(), kept.transaction():
            pass
        assert numbers(kept) == 3
        with kept.transaction() as connection:
            row = connection.execute("select count(*) as n from event where actor = 'test'").fetchone()
    assert row == {"n": 0}, "what was rolled back does not come with the next commit"
    assert len(backends) == 1


def test_a_kept_connection_that_breaks_takes_only_its_own_transaction_along(
    trial_cluster: Cluster, ledger: Ledger
) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        ask_and_lose(ledger, trial_cluster)
    with ledger.kept() as again, again.transaction() as connection:
        assert requests.get(connection, RequestId("R1")).reason == ""
