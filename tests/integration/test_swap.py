"""The swap: one transaction, sessions kept out, what the name wears kept, what would break it refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from benchmarks import swap as benchmark
from infra.postgres.compare import ready
from infra.postgres.dress import check_dress, read_dress
from infra.postgres.incoming import create_incoming, exists
from infra.postgres.leak_probe import leak_probe
from infra.postgres.schema import read_schema
from infra.postgres.selection import TableName
from infra.postgres.selections import selections
from infra.postgres.swap import check_swap, is_swapped, is_swapped_back, swap, swap_back, swap_forward
from infra.postgres.tag import Standing, tagged
from infra.protection_file import parse_protection
from infra.stack.cluster import Cluster, PostgresVersion
from policy.errors import Refused, StepFailed
from policy.names import ApplicationName, DatabaseName, failed_name, incoming_name, previous_name
from tests.integration.swapped_server import LATER, NOW, RUN, Server
from tests.ports import free_port


def test_swap_and_back_and_forward(server: Server) -> None:
    server.incoming()
    swap(server.open, server.database, RUN, at=NOW)
    assert server.ask("SELECT word FROM word") == "new"
    with server.open() as session:
        assert is_swapped(session, server.database, RUN)
    swap_back(server.open, server.database, RUN, by=LATER, at=NOW)
    assert server.ask("SELECT word FROM word") == "old"
    with server.open() as session:
        assert is_swapped_back(session, server.database, RUN, by=LATER)
        assert not is_swapped(session, server.database, RUN)
        assert exists(session, failed_name(server.database, LATER))
    swap_forward(server.open, server.database, RUN, by=LATER, at=NOW)
    assert server.ask("SELECT word FROM word") == "new"
    with server.open() as session:
        assert is_swapped(session, server.database, RUN)


def test_what_the_name_wears_stays_with_the_name(server: Server) -> None:
    user = server.user
    with psycopg.connect(server.cluster.dsn(), autocommit=True) as admin:
        for statement in (
            "REVOKE ALL ON DATABASE {0} FROM PUBLIC",
            f"GRANT CONNECT, TEMPORARY ON DATABASE {{0}} TO {user} WITH GRANT OPTION",
            "ALTER DATABASE {0} CONNECTION LIMIT 17",
            'ALTER DATABASE {0} SET search_path TO public, "My ""odd"", schema"',
            "ALTER DATABASE {0} SET work_mem TO '8MB'",
            "ALTER DATABASE {0} SET application_name TO 'it''s ours'",
            "COMMENT ON DATABASE {0} IS 'the training database''s comment'",
        ):
            admin.execute(SQL(statement).format(Identifier(server.database)))
        before = read_dress(admin, server.database)
        server.incoming()
        swap(server.open, server.database, RUN, at=NOW)
        assert read_dress(admin, server.database) == before
        assert server.ask("SELECT word FROM word") == "new"
        assert server.ask("SHOW application_name") == "it's ours"
        swap_back(server.open, server.database, RUN, by=RUN, at=NOW)
        assert read_dress(admin, server.database) == before
        assert server.ask("SELECT word FROM word") == "old"


def test_public_may_connect_again_where_it_could_before(server: Server) -> None:
    server.incoming()
    swap(server.open, server.database, RUN, at=NOW)
    server.open(server.database, role=server.user).close()


def test_the_previous_database_lets_nobody_in(server: Server) -> None:
    server.incoming()
    swap(server.open, server.database, RUN, at=NOW)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        server.open(previous_name(server.database, RUN))
    with server.open() as session:
        (kept,) = [each for each in tagged(session) if each.tag.database == server.database]
    assert (kept.name, kept.tag.standing) == (previous_name(server.database, RUN), Standing.PREVIOUS)
    assert kept.bytes > 0


def test_a_setting_that_the_owner_may_not_give_is_told_before(server: Server) -> None:
    with psycopg.connect(server.cluster.dsn(), autocommit=True) as admin:
        admin.execute(
            SQL("ALTER DATABASE {} SET log_min_messages TO 'error'").format(Identifier(server.database))
        )
    with server.open() as session:
        (finding,) = check_dress(session, server.database)
        assert "may not give its owner, grants or settings to the copy" in finding
        assert server.ask("SHOW log_min_messages") == "error", "looking changed nothing"
    server.incoming()
    with pytest.raises(StepFailed, match="nothing was changed"):
        swap(server.open, server.database, RUN, at=NOW)
    assert server.ask("SELECT word FROM word") == "old"


def _prepared(server: Server) -> Callable[[], None]:
    with server.open(server.database) as session:
        session.execute("BEGIN")
        session.execute("CREATE TABLE half (x int)")
        session.execute("PREPARE TRANSACTION 'left open'")

    def end() -> None:
        with server.open(server.database) as session:
            session.execute("ROLLBACK PREPARED 'left open'")

    return end


def test_a_prepared_transaction_refuses_the_swap(server: Server) -> None:
    end = _prepared(server)
    try:
        server.incoming()
        with server.open() as session:
            (finding,) = check_swap(session, server.database)
        assert "the prepared transaction 'left open' is open; commit it or roll it back" in finding
        with pytest.raises(Refused, match="prepared transaction"):
            swap(server.open, server.database, RUN, at=NOW)
        assert server.ask("SELECT word FROM word") == "old"
    finally:
        end()


def test_without_an_incoming_database_nothing_is_swapped(server: Server) -> None:
    with pytest.raises(StepFailed, match="does not exist on the server, so nothing can be swapped"):
        swap(server.open, server.database, RUN, at=NOW)
    assert server.ask("SELECT word FROM word") == "old"


@pytest.mark.slow
def test_a_session_that_may_not_be_ended_leaves_everything_as_it_was(server: Server) -> None:
    server.incoming()
    with psycopg.connect(server.cluster.dsn(server.database)) as superuser:
        superuser.execute("SELECT 1")
        with pytest.raises(StepFailed, match="sessions of postgres cannot be ended"):
            swap(server.open, server.database, RUN, at=NOW)
    assert server.ask("SELECT word FROM word") == "old"
    with server.open() as session:
        assert exists(session, incoming_name(server.database, RUN))


def test_open_transactions_are_ended(server: Server) -> None:
    server.incoming()
    with server.open(server.database) as busy:
        busy.execute("BEGIN")
        busy.execute("INSERT INTO word VALUES ('lost')")
        report = swap(server.open, server.database, RUN, at=NOW)
        assert report.ended >= 1
        with pytest.raises(psycopg.OperationalError):
            busy.execute("COMMIT")
    assert server.ask("SELECT string_agg(word, ',') FROM word") == "new"


def test_sessions_of_other_roles_are_ended(server: Server) -> None:
    """The owner is not told of what kind they are: it has `pg_signal_backend` and may not read statistics."""
    server.incoming()
    with server.open(server.database, role=server.user) as other:
        other.execute("SELECT 1")
        assert swap(server.open, server.database, RUN, at=NOW).ended >= 1
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
    assert server.ask("SELECT word FROM word") == "new"


@pytest.mark.slow
def test_twenty_swaps_under_sixteen_busy_clients(trial_cluster: Cluster) -> None:
    figures = benchmark.measure(trial_cluster, swaps=20, clients=16)
    assert figures["swap_failures"] == 0
    assert figures["swap_downtime_max_s"] <= 1.5


@pytest.mark.slow
def test_the_same_on_postgresql_16(tmp_path: Path) -> None:
    """The catalog of databases has other columns there, and a copy may come from there."""
    cluster = Cluster(data=tmp_path / "data", port=free_port(), version=PostgresVersion.V16)
    cluster.initialise()
    cluster.start()
    try:
        database = DatabaseName("older")

        def opened(name: str = "postgres") -> psycopg.Connection:
            return psycopg.connect(cluster.dsn(name), autocommit=True)

        with opened() as admin:
            admin.execute("CREATE DATABASE older")
            create_incoming(admin, database, RUN, at=NOW, encoding="UTF8")
            assert check_swap(admin, database) == check_dress(admin, database) == ()
        with opened(incoming_name(database, RUN)) as session:
            session.execute("CREATE TABLE person (id int PRIMARY KEY, email text, data jsonb)")
            session.execute(
                "INSERT INTO person VALUES (1, 'a@b.example.net', '{\"email\": \"a@b.example.net\"}')"
            )
            policy = parse_protection(
                ApplicationName("shop"),
                "version: 1\ntables:\n"
                "  person: {columns: {id: keep, email: email, data: {json: {email: email}}}}",
                file="protection.yml",
            )
            taken = selections(policy, read_schema(session))[TableName("public", "person")]
            ready(session, "a key of at least sixteen characters")
            row = session.execute(
                SQL("SELECT {}, {} ->> 'email' FROM public.person").format(*taken.columns.values())
            ).fetchone()
            assert row is not None
            assert row[0] == row[1] != "a@b.example.net"
            assert leak_probe(session, policy).leaks == ()
        swap(opened, database, RUN, at=NOW)
        with opened("older") as session:
            assert session.execute("SELECT count(*) FROM public.person").fetchone() == (1,)
    finally:
        cluster.stop(fast=False)
