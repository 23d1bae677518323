"""A whole server's files as a snapshot: refused where others would suffer, put back whole after a crash."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from infra.ansible import end_leftovers
from infra.postgres.digest import digests
from infra.postgres.snapshot_kind import Kind
from infra.postgres.tag import Standing, Tag, tag_statement
from infra.secrets import SecretFiles
from infra.settings import Settings
from infra.stack.cluster import Cluster, PostgresVersion, bin_dir
from infra.stack.unprivileged import prefix
from policy.errors import NeedsHuman, Refused, StepFailed
from policy.journal import Entry, EntryState
from policy.names import RunId
from tasks.snapshots import Kept, kept
from tests.integration.engine_runs import QUICK, WORD, Server
from tests.integration.engine_work import EngineWork
from tests.ports import free_port

pytestmark = pytest.mark.timeout(120)
AT = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
TAKEN, FAILED = "data.snapshot_r7a1", "data.failed_r7a1"


@dataclass(kw_only=True)
class Dedicated:
    """A server that one web application has to itself, and a run that upgrades it."""

    folder: Path
    cluster: Cluster

    def work(self, *, epoch: int = 1, run: str = "r7a1", **variables: object) -> EngineWork:
        words = ", ".join(f'"{word}"' for word in prefix())
        (self.folder / "clusters.yaml").write_text(
            f"clusters:\n  db:\n    host: local\n    bin: {bin_dir(PostgresVersion.V18)}\n"
            f"    data: {self.cluster.data}\n    prefix: [{words}]\n    timeout_s: 60\n"
        )
        estate = Server(folder=self.folder, old=self.cluster, secret=True)._estate()
        customer = next(iter(estate.customers.values()))
        webapps = {name: replace(app, variables=variables) for name, app in customer.webapps.items()}
        scratch = self.folder / "state" / "runs" / run
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        return EngineWork(
            estate=replace(estate, customers={customer.name: replace(customer, webapps=webapps)}),
            settings=Settings(estate=self.folder / "estate.yaml", state_dir=self.folder / "state"),
            secrets=SecretFiles(self.folder / "secrets"),
            scratch=scratch,
            run=RunId(run),
            epoch=epoch,
        )

    def kept(self, **more: object) -> Kept:
        (only,) = kept(self.work(**{"snapshot": "physical", **more}))  # type: ignore[arg-type]
        return only

    def session(self, database: str = "lakeside") -> psycopg.Connection:
        return psycopg.connect(self.cluster.dsn(database), password=WORD, autocommit=True, connect_timeout=5)

    def state(self) -> object:
        with self.session() as session:
            roles = session.execute("select rolname::text from pg_roles order by 1").fetchall()
            return dict(digests(session)), roles

    def migrate(self) -> None:
        with self.session() as session:
            session.execute("alter table person drop column name; create table made_by_the_migration ()")
            for statement in ("create role made_by_the_migration", "vacuum full person", "checkpoint"):
                session.execute(statement.encode())

    def beside(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("data.*") if path.suffix != ".log")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dedicated")
    (folder / "word").write_text(WORD + "\n")
    cluster = Cluster(
        data=folder / "data", port=free_port(), settings=QUICK, superuser_passfile=folder / "word"
    )
    cluster.initialise()
    cluster.start()
    with psycopg.connect(cluster.dsn(), autocommit=True) as session:
        session.execute("create database lakeside")
    with psycopg.connect(cluster.dsn("lakeside"), autocommit=True) as session:
        session.execute("create table person (id serial primary key, name text not null, at timestamptz)")
        session.execute(
            "insert into person (name, at) select 'p' || g, now() from generate_series(1, 3000) g"
        )
    cluster.stop()
    return cluster.data


@pytest.fixture
def dedicated(original: Path, tmp_path: Path) -> Iterator[Dedicated]:
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "superuser").touch(mode=0o600)
    (tmp_path / "secrets" / "superuser").write_text(WORD + "\n")
    shutil.copytree(original, tmp_path / "data", symlinks=True)
    cluster = Cluster(
        data=tmp_path / "data", port=free_port(), settings=QUICK, superuser_auth="scram-sha-256"
    )
    cluster.start()
    yield Dedicated(folder=tmp_path, cluster=cluster)
    if cluster.running():
        cluster.stop(fast=False)


def test_a_migrated_server_is_put_back_whole(dedicated: Dedicated) -> None:
    before, keep = dedicated.state(), dedicated.kept()
    keep.take()
    assert dedicated.beside() == [TAKEN]
    dedicated.migrate()
    keep.restore()
    assert dedicated.state() == before
    assert dedicated.beside() == [FAILED]


@pytest.mark.slow
def test_it_keeps_the_promises_of_every_kind(dedicated: Dedicated) -> None:
    before, keep = dedicated.state(), dedicated.kept()
    chosen, size = keep.take()
    assert (chosen.kind, chosen.why_not["template"]) == (Kind.PHYSICAL, "the estate asks for another")
    assert size > 10**6
    assert keep.is_taken()
    assert keep.take()[1] == size, "a second time it is found"
    (part,) = chosen.parts
    part.prove()
    dedicated.migrate()
    assert dedicated.state() != before
    assert keep.gone() == ""
    keep.restore()
    assert dedicated.state() == before
    assert dedicated.beside() == [FAILED]
    assert part.is_restored()
    keep.restore()
    keep.drop()
    assert dedicated.beside() == [FAILED], "evidence outlives the run"
    assert dedicated.state() == before
    (whole,) = keep.whole
    assert whole.clear() == ("removed the snapshot of server db on local",)
    assert dedicated.beside() == []
    assert whole.clear() == ()


def test_what_the_estate_asks_for_is_asked_for_this_server(dedicated: Dedicated) -> None:
    for variables, words in (
        ({"snapshot": {"other": "physical"}}, "snapshot: the estate has no database server other"),
        ({"snapshot": {"db": "tape"}}, "'tape' is unknown"),
        ({"snapshot": "template", "snapshot_room_gb": "much"}, "it takes a number of gigabytes"),
        ({"snapshot": {"db": "template"}, "snapshot_room_gb": {"db": 0.001}}, "can spare 0.0 GB"),
        ({"snapshot": {"db": "rds"}}, "rds: the server is not one of AWS"),
    ):
        (keep,) = kept(dedicated.work(**variables))
        with pytest.raises(Refused, match=words):
            keep.choice()
    (keep,) = kept(dedicated.work(snapshot={"db": "dump"}, snapshot_room_gb=100))
    assert keep.choice().kind is Kind.DUMP


def test_it_is_refused_where_others_would_be_taken_back(dedicated: Dedicated) -> None:
    with dedicated.session("postgres") as admin:
        for made, taken_back, words in (
            ("create database payroll", "drop database payroll", "would take back 'payroll' as well"),
            ("create table list (id int)", "drop table list", "1 tables in database 'postgres'"),
            (
                "select pg_create_physical_replication_slot('standby')",
                "select pg_drop_replication_slot('standby')",
                "1 replication slots",
            ),
        ):
            admin.execute(made.encode())
            with pytest.raises(Refused, match=words):
                dedicated.kept().choice()
            admin.execute(taken_back.encode())
        # What a run left of the web application's own databases is the application's.
        name = "lakeside__snap_r5a1"
        admin.execute(SQL("create database {}").format(Identifier(name)))
        with pytest.raises(Refused, match=f"take back '{name}'"):
            dedicated.kept().choice()
        tag = Tag(standing=Standing.SNAPSHOT, database="lakeside", run=RunId("r5a1"), at=AT)
        admin.execute(tag_statement(name, tag))
        assert dedicated.kept().choice().kind is Kind.PHYSICAL


@pytest.mark.slow
def test_it_is_refused_where_its_files_are_not_what_they_should_be(
    dedicated: Dedicated, original: Path
) -> None:
    (dedicated.cluster.data / "outside").symlink_to(dedicated.folder / "secrets")
    with pytest.raises(Refused, match="outside in"):
        dedicated.kept().choice()
    (dedicated.cluster.data / "outside").unlink()
    keep = dedicated.kept()
    declared = dedicated.folder / "clusters.yaml"
    declared.write_text(declared.read_text().replace(str(dedicated.cluster.data), str(original)))
    (keep,) = kept(keep.work)
    with pytest.raises(Refused, match="no server works in"):
        keep.choice()
    declared.write_text("clusters:\n  other: {host: local, bin: /bin, data: /data}\n")
    with pytest.raises(Refused, match="no database server 'other'"):
        kept(keep.work)
    declared.unlink()
    (keep,) = kept(keep.work)
    with pytest.raises(Refused, match=r"physical: clusters\.yaml does not say where"):
        keep.choice()


@pytest.mark.slow
def test_it_is_left_to_a_dump_where_blocks_are_not_shared_and_room_is_scarce(dedicated: Dedicated) -> None:
    (keep,) = kept(dedicated.work(snapshot_room_gb=0.001))
    chosen = keep.choice()
    assert "the server can spare 0.0 GB" in chosen.why_not["template"]
    assert chosen.kind in {Kind.DUMP, Kind.PHYSICAL}
    assert (chosen.kind is Kind.DUMP) == ("the server can spare" in chosen.why_not.get("physical", ""))
    assert chosen.why_not["rds"] == "the server is not one of AWS"


@pytest.mark.slow
@pytest.mark.parametrize("spoilt", ["page", "control"])
def test_a_spoilt_copy_is_told_and_is_not_put_into_place(dedicated: Dedicated, spoilt: str) -> None:
    keep = dedicated.kept()
    (part,) = keep.take()[0].parts
    copy = dedicated.folder / TAKEN
    if spoilt == "page":
        largest = max((copy / "base").rglob("*"), key=lambda path: path.stat().st_size)
        with largest.open("r+b") as file:
            file.seek(5000)
            file.write(b"\xff" * 64)
    else:
        control = copy / "global" / "pg_control"
        control.write_bytes(control.read_bytes()[:100].ljust(8192, b"\0"))
    with pytest.raises(
        StepFailed, match="pg_checksums failed" if spoilt == "page" else "its control file is spoilt"
    ):
        part.prove()
    dedicated.migrate()
    after = dedicated.state()
    if spoilt == "control":
        with pytest.raises(NeedsHuman, match="server 'db'"):
            keep.restore()
        assert dedicated.state() == after
        assert dedicated.beside() == [TAKEN]


def died(act: Callable[[], object]) -> None:
    """Let `act` be killed in a process of its own."""
    child = multiprocessing.get_context("fork").Process(target=act)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def killed_at(dedicated: Dedicated, words: str, act: Callable[[Kept], object], *, nth: int = 1) -> None:
    """A worker of epoch 1 dies when it is told for the `nth` time that a task called `words` begins."""
    seen = []

    def listen(text: str) -> None:
        seen.append(text)
        if sum(words in line for line in seen) == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def die() -> None:
        (keep,) = kept(replace(dedicated.work(snapshot="physical"), meanwhile=listen))
        act(keep)

    died(die)
    end_leftovers("r7a1", 2, dedicated.work().scratch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "nth"),
    [
        ("take: Let the server be as wanted", 1),
        ("take: Bring the files into the wanted state", 1),
        ("take: Bring the files into the wanted state", 2),
        ("take: Let the server be as wanted", 2),
    ],
)
def test_a_worker_killed_while_it_takes_leaves_nothing_that_its_successor_cannot_finish(
    dedicated: Dedicated, words: str, nth: int
) -> None:
    before = dedicated.state()
    killed_at(dedicated, words, Kept.take, nth=nth)
    keep = dedicated.kept(epoch=2)
    if keep.is_taken():
        assert dedicated.cluster.running(), "what is done needs no more doing"
    chosen, _ = keep.take()
    chosen.parts[0].prove()
    assert dedicated.beside() == [TAKEN]
    assert dedicated.state() == before
    dedicated.migrate()
    keep.restore()
    assert dedicated.state() == before


@pytest.mark.slow
def test_a_half_made_copy_is_dropped_and_the_server_runs(dedicated: Dedicated) -> None:
    before, keep = dedicated.state(), dedicated.kept()
    dedicated.cluster.stop()
    (dedicated.folder / f"{TAKEN}.making-0badcafe" / "base").mkdir(parents=True)
    (dedicated.folder / f"{TAKEN}.stopped").touch()
    assert not keep.is_taken(), "half a snapshot is none"
    keep.drop()
    assert dedicated.beside() == []
    assert dedicated.state() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "nth"),
    [
        ("put_back: Let the server be as wanted", 1),
        ("put_back: Bring the files into the wanted state", 3),
        ("put_back: Let the server be as wanted", 2),
    ],
)
def test_a_worker_killed_while_it_puts_back_is_followed_by_one_that_finishes(
    dedicated: Dedicated, words: str, nth: int
) -> None:
    before = dedicated.state()
    dedicated.kept().take()
    dedicated.migrate()
    killed_at(dedicated, words, Kept.restore, nth=nth)
    dedicated.kept(epoch=2).restore()
    assert dedicated.state() == before
    assert dedicated.beside() == [FAILED]


@pytest.mark.slow
def test_a_server_that_this_run_did_not_stop_is_not_started(dedicated: Dedicated) -> None:
    keep = dedicated.kept()
    dedicated.cluster.stop()
    keep.whole[0].drop()
    keep.whole[0].bring_up()
    assert not dedicated.cluster.running(), "somebody else stopped it, or another one serves by now"


@pytest.mark.slow
@pytest.mark.parametrize("renamed", ["nothing", "the directory"])
def test_a_put_back_that_was_cut_off_is_finished(dedicated: Dedicated, renamed: str) -> None:
    before, keep = dedicated.state(), dedicated.kept()
    keep.take()
    keep.work.journal["take_snapshot"] = Entry(  # type: ignore[attr-defined]
        step="take_snapshot",
        state=EntryState.DONE,
        facts={"snapshots": {"lakeside": {"kind": "physical"}}},
    )
    dedicated.migrate()
    dedicated.cluster.stop()
    if renamed == "the directory":
        dedicated.cluster.data.rename(dedicated.folder / FAILED)
        with pytest.raises(StepFailed, match="may be all that is left; nothing was removed"):
            keep.drop()
    assert keep.gone() == ""
    keep.restore()
    assert dedicated.state() == before
    assert dedicated.beside() == [FAILED]


@pytest.mark.slow
def test_a_snapshot_that_is_gone_changes_nothing(dedicated: Dedicated) -> None:
    keep = dedicated.kept()
    keep.take()
    shutil.rmtree(dedicated.folder / TAKEN)
    after = dedicated.state()
    assert keep.gone() == "the snapshot of database 'lakeside' of lakeside/production is gone"
    with pytest.raises(NeedsHuman, match="is gone"):
        keep.restore()
    with pytest.raises(NeedsHuman, match="is gone; nothing was changed"):
        keep.whole[0].restore(at=keep.work.clock.now())
    assert dedicated.state() == after
