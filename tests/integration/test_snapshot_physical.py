"""A whole server's files as a snapshot: refused where others would suffer, put back whole."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from infra.postgres.snapshot_kind import Kind
from infra.postgres.tag import Standing, Tag, tag_statement
from policy.errors import NeedsHuman, Refused, StepFailed
from policy.names import RunId
from tasks.snapshots import kept
from tests.integration.dedicated_servers import FAILED, TAKEN, Dedicated

pytestmark = pytest.mark.timeout(120)
AT = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)


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
    dedicated: Dedicated, dedicated_files: Path
) -> None:
    (dedicated.cluster.data / "outside").symlink_to(dedicated.folder / "secrets")
    with pytest.raises(Refused, match="outside in"):
        dedicated.kept().choice()
    (dedicated.cluster.data / "outside").unlink()
    keep = dedicated.kept()
    declared = dedicated.folder / "clusters.yaml"
    declared.write_text(declared.read_text().replace(str(dedicated.cluster.data), str(dedicated_files)))
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
