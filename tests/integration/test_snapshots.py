"""Snapshots of every kind: proven when taken, whole when put back, refused with the reason."""

from __future__ import annotations

import secrets as random_words
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from infra.postgres import snapshot
from infra.postgres.digest import digests
from infra.postgres.dress import read_dress
from infra.postgres.incoming import exists
from infra.postgres.snapshot_choice import Choice, Parts, choose, kind_named
from infra.postgres.snapshot_dump import Dump
from infra.postgres.snapshot_files import DumpedFiles
from infra.postgres.snapshot_kind import Demand, Kind
from infra.postgres.snapshot_template import Template
from infra.secrets import SecretFiles
from infra.stack.cluster import Cluster
from infra.stack.roles import OWNER_GROUPS, DatabaseRole, establish
from policy.errors import NeedsHuman, Refused, StepFailed
from policy.machines import DatabaseServer, Login
from policy.names import DatabaseName, RunId, SecretName, failed_name, snapshot_name
from tests.estate_parts import server_of

RUN = RunId("r5a1")
AT = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
Session = psycopg.Connection[Any]


@dataclass
class Place:
    """A database with some of everything, and its owner's sessions."""

    cluster: Cluster
    server: DatabaseServer
    database: DatabaseName
    folder: Path
    secrets: SecretFiles

    def session(self, database: str = "postgres") -> Session:
        login = self.server.owner
        word = self.secrets.read(login.secret).get_secret_value()
        return psycopg.connect(self.cluster.dsn(database, login.user), password=word, autocommit=True)

    @property
    def dump(self) -> Dump:
        return Dump(
            server=self.server, database=self.database, secrets=self.secrets, folder=self.folder, run=RUN
        )

    def state(self) -> object:
        with self.session(self.database) as session, self.session() as admin:
            objects = session.execute("select oid, md5(lo_get(oid)) from pg_largeobject_metadata").fetchall()
            return dict(digests(session)), objects, read_dress(admin, self.database)

    def migrate(self) -> None:
        with self.session(self.database) as session:
            session.execute("alter table person drop column name; create table made_by_the_migration ()")
            session.execute("select lo_unlink(4711)")


@pytest.fixture
def place(tmp_path: Path, trial_cluster: Cluster) -> Iterator[Place]:
    word = random_words.token_hex(3)
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "owner").touch(mode=0o600)
    (tmp_path / "secrets" / "owner").write_text(f"o:w\\n-{word}\n")
    secrets = SecretFiles(tmp_path / "secrets")
    owner = DatabaseRole(
        name=f"snap_{word}",
        secret=SecretName("owner"),
        creates_databases=True,
        member_of=OWNER_GROUPS,
        database=None,
    )
    server = server_of(
        "trial",
        production=False,
        port=trial_cluster.port,
        owner=Login(user=owner.name, secret=owner.secret),
    )
    database = DatabaseName(f"site_{word}")
    with psycopg.connect(trial_cluster.dsn(), autocommit=True) as session:
        establish(session, [owner], secrets)
        session.execute(
            SQL("create database {} owner {}").format(Identifier(database), Identifier(owner.name))
        )
    made = Place(trial_cluster, server, database, tmp_path, secrets)
    with made.session(database) as session:
        session.execute("create table person (id serial primary key, name text not null, at timestamptz)")
        session.execute(
            "insert into person (name, at) select 'p' || g, now() from generate_series(1, 3000) g"
        )
        session.execute("create index on person (name); create view people as select id from person")
        session.execute("select lo_from_bytea(4711, decode(repeat('ab01', 900), 'hex'))")
        session.execute(SQL("comment on database {} is 'a site'").format(Identifier(database)))
        session.execute(
            SQL("alter database {} set search_path = public, pg_catalog").format(Identifier(database))
        )
    yield made
    with psycopg.connect(trial_cluster.dsn(), autocommit=True) as session:
        for name in (database, snapshot_name(database, RUN), failed_name(database, RUN)):
            session.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))
        session.execute(SQL("drop role {}").format(Identifier(owner.name)))


@pytest.mark.parametrize("kind", ["file_copy", "wal_log", "dump"])
def test_it_is_put_back_whole_and_what_failed_is_kept(place: Place, kind: str) -> None:
    before = place.state()
    with place.session() as admin:
        if kind == "dump":
            with place.session(place.database) as session:
                assert place.dump.take(admin, session, at=AT) > 0
            assert place.dump.is_taken()
        else:
            assert snapshot.take(admin, place.database, RUN, at=AT, strategy=kind) > 0
            assert snapshot.is_taken(admin, place.database, RUN)
    place.migrate()
    assert place.state() != before
    with place.session() as admin:
        if kind == "dump":
            place.dump.build(admin, at=AT)
        assert snapshot.restore(admin, place.database, RUN, at=AT)
        assert exists(admin, failed_name(place.database, RUN))
        assert snapshot.is_restored(admin, place.database, RUN)
        assert not snapshot.restore(admin, place.database, RUN, at=AT), "a second time there is nothing to do"
    assert place.state() == before
    assert not list(place.folder.glob("pgpass-*"))


def test_sessions_of_other_roles_are_in_nobodys_way(place: Place) -> None:
    """The owner is not told of what kind they are: it has `pg_signal_backend` and may not read statistics."""
    role = Identifier(f"reports_{place.database}")
    before = place.state()
    with psycopg.connect(place.cluster.dsn(), autocommit=True) as superuser:
        superuser.execute(SQL("create role {} login password 'open'").format(role))
        try:
            where = place.cluster.dsn(place.database, f"reports_{place.database}")
            with psycopg.connect(where, password="open"), place.session() as admin:
                snapshot.take(admin, place.database, RUN, at=AT)
            place.migrate()
            with psycopg.connect(where, password="open"), place.session() as admin:
                assert snapshot.restore(admin, place.database, RUN, at=AT)
            psycopg.connect(where, password="open").close()
        finally:
            superuser.execute(SQL("drop role {}").format(role))
    assert place.state() == before


def test_a_damaged_dump_is_told_and_leaves_the_database_as_it_is(place: Place) -> None:
    with place.session() as admin, place.session(place.database) as session:
        place.dump.take(admin, session, at=AT)
        largest = max(place.dump.path.glob("*.dat*"), key=lambda path: path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    place.migrate()
    after = place.state()
    with place.session() as admin:
        with pytest.raises(NeedsHuman, match="the dump is kept in"):
            place.dump.build(admin, at=AT)
        assert not snapshot.is_taken(admin, place.database, RUN), "half a snapshot is none"
        assert exists(admin, place.database)
    assert place.state() == after


def test_what_cannot_be_read_is_not_taken(place: Place) -> None:
    with psycopg.connect(place.cluster.dsn(place.database), autocommit=True) as other:
        other.execute("create table not_the_owner_s (id int)")
    with place.session() as admin, place.session(place.database) as session:
        with pytest.raises(StepFailed, match="permission denied"):
            place.dump.take(admin, session, at=AT)
        assert not place.dump.is_taken()
        assert place.dump.forget() or not place.dump.path.parent.joinpath(f"{place.database}.making").exists()


def possible(place: Place) -> dict[Kind, Parts]:
    def sessions(database: str) -> Session:
        return place.session(database)

    return {
        Kind.TEMPLATE: [Template(database=place.database, run=RUN, sessions=sessions)],
        Kind.DUMP: [DumpedFiles(dump=place.dump, sessions=sessions)],
    }


def test_the_kind_is_what_the_server_allows_and_the_size(place: Place) -> None:
    absent = {Kind.PHYSICAL: "nobody said where its files lie", Kind.RDS: "not one of AWS"}

    def chosen(size: int = 10**6, *, wanted: Kind | None = None, room: int | None = None) -> Choice:
        return choose(possible(place), Demand(size=size, room=room, wanted=wanted), absent=absent)

    assert chosen().kind is Kind.TEMPLATE
    assert chosen().why_not == {**absent, Kind.DUMP: "a quicker kind is possible"}
    tight = chosen(size=5 * 10**9, room=10**9)
    assert tight.kind is Kind.DUMP
    assert tight.why_not == {**absent, Kind.TEMPLATE: "it has 5.0 GB, and the server can spare 1.0 GB"}
    assert chosen(wanted=Kind.DUMP).kind is Kind.DUMP
    assert chosen(wanted=Kind.DUMP).why_not[Kind.TEMPLATE] == "the estate asks for another"
    with pytest.raises(Refused, match="physical: nobody said where its files lie"):
        chosen(wanted=Kind.PHYSICAL)
    with pytest.raises(Refused, match="'tape' is unknown; use template, physical, rds, dump"):
        kind_named("tape")
    with psycopg.connect(place.cluster.dsn(), autocommit=True) as superuser:
        superuser.execute(SQL("alter role {} nocreatedb").format(Identifier(place.server.owner.user)))
    with pytest.raises(Refused, match=r"template: .* may not create databases.*dump: .* may not create"):
        chosen()


@pytest.mark.parametrize("kind", [Kind.TEMPLATE, Kind.DUMP])
def test_every_kind_of_a_database_keeps_the_same_promises(place: Place, kind: Kind) -> None:
    before, (kept,) = place.state(), possible(place)[kind]
    assert not kept.is_taken()
    size = kept.take(at=AT)
    assert kept.is_taken()
    assert kept.take(at=AT) == size, "what is there is not taken anew"
    kept.prove()
    place.migrate()
    assert not kept.is_restored()
    assert kept.restore(at=AT)
    assert kept.is_restored()
    assert not kept.restore(at=AT)
    assert place.state() == before
    assert kept.drop() is (kind is Kind.DUMP), "a template copy was put into place"
    assert not kept.drop()
