"""A snapshot by RDS against an emulated AWS: proven, put back under the old name, finished after any crash.

The emulator knows no waiting and no data: what is proven here is which calls are made, in which order, with
which words, and that each may be the last one of a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import psycopg
import pytest
from botocore.exceptions import ClientError
from psycopg.sql import SQL, Identifier

from infra.postgres.snapshot_kind import Admin, Demand, Kind
from infra.postgres.snapshot_rds import NOT_BEFORE, RUN, Patience, Rds
from infra.rds_instances import RdsInstances, set_up
from infra.stack.cluster import Cluster
from policy.errors import NeedsHuman, Refused, StepFailed, TimedOut, Unavailable
from policy.names import DatabaseName, RunId
from tests.estate_parts import server_of
from tests.integration.rds_wire import COPY, FAILED, OWN, REGION, Killed, Wire, fresh_wire

AT = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)


@pytest.fixture
def wire(endpoint: str) -> Wire:
    return fresh_wire(endpoint)


@contextmanager
def closed(database: str) -> Iterator[Admin]:
    if database:
        raise Unavailable("nobody is let in here")
    yield psycopg.connect()


@contextmanager
def opened(_database: str) -> Iterator[Any]:
    yield "that it opens is all that is asked"


def snapshot(wire: Wire, **more: object) -> Rds:
    host = wire.client.describe_db_instances()["DBInstances"][0]["Endpoint"]["Address"]
    made = Rds(
        server=server_of(
            "live", production=True, host=f"{OWN}.{host.partition('.')[2]}", port=5433, reader=None
        ),
        databases=(DatabaseName("lakeside"),),
        run=RunId("r5a1"),
        sessions=opened,
        instances=RdsInstances(client=wire),
        region=REGION,
        proven=lambda: None,
        say=lambda _: None,
        patience=Patience(take_s=2, restore_s=2, every_s=0.01),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def names(wire: Wire) -> dict[str, str]:
    """Each instance, and the identity that it keeps through changes of name."""
    found = wire.client.describe_db_instances()["DBInstances"]
    return {each["DBInstanceIdentifier"]: each["DbiResourceId"] for each in found}


def test_it_is_taken_proven_put_back_under_the_old_name_and_dropped(wire: Wire) -> None:
    kept, (old,) = snapshot(wire), wire.client.describe_db_instances()["DBInstances"]
    assert not kept.is_taken()
    assert kept.take(at=AT) == 40 * 2**30
    assert kept.is_taken()
    kept.prove()
    assert kept.take(at=AT) == 40 * 2**30, "a second time it is found"
    assert wire.calls == ["create_db_snapshot"]
    assert kept.restore(at=AT)
    assert kept.is_restored()
    assert set(names(wire)) == {OWN, FAILED}
    assert names(wire)[FAILED] == old["DbiResourceId"], "what the run made is kept"
    found = {
        each["DBInstanceIdentifier"]: each for each in wire.client.describe_db_instances()["DBInstances"]
    }
    new = found[OWN]
    assert set_up(new) == set_up(old)
    assert set_up(old)["VpcSecurityGroupIds"] == ["sg-0a", "sg-0b"]
    assert set_up(old)["DBParameterGroupName"] == "lakeside-18"
    tags = {tag["Key"]: tag["Value"] for tag in new["TagList"]}
    assert tags["customer"] == "lakeside"
    assert not kept.restore(at=AT), "a second time there is nothing to do"
    (left,) = [line for line in kept.clear() if "left alone" in line]
    assert FAILED in left
    assert not kept.drop()


@pytest.mark.parametrize("last", range(1, 5))
def test_a_worker_that_dies_after_any_call_leaves_what_its_successor_finishes(wire: Wire, last: int) -> None:
    before = names(wire)[OWN]

    def work() -> None:
        kept = snapshot(wire)
        kept.take(at=AT)
        kept.restore(at=AT)

    wire.dies_after = last
    with pytest.raises(Killed):
        work()
    wire.dies_after = None
    assert snapshot(wire).is_taken() or snapshot(wire).is_restored(), "it is never taken for gone"
    work()
    restored = ["restore_db_instance_from_db_snapshot", "modify_db_instance", "modify_db_instance"]
    assert wire.calls == ["create_db_snapshot", *restored], "no call was made twice"
    assert set(names(wire)) == {OWN, FAILED}
    assert names(wire)[FAILED] == before


def test_a_snapshot_that_fails_is_told_and_forgotten(wire: Wire) -> None:
    def failing(answer: Any) -> Any:  # noqa: ANN401
        for found in answer["DBSnapshots"]:
            found["Status"] = "failed"
        return answer

    kept = snapshot(wire)
    wire.changes["describe_db_snapshots"] = failing
    with pytest.raises(StepFailed, match="could not take snapshot 'lakeside-freshet-r5a1'"):
        kept.take(at=AT)
    assert not kept.is_taken()
    assert set(names(wire)) == {OWN}
    wire.changes.clear()
    assert kept.drop()


def test_one_that_is_not_this_run_s_or_too_old_is_not_believed(wire: Wire) -> None:
    kept = snapshot(wire)
    wire.client.create_db_snapshot(DBInstanceIdentifier=OWN, DBSnapshotIdentifier=COPY)
    with pytest.raises(StepFailed, match="this run did not take it"):
        kept.prove()
    wire.client.delete_db_snapshot(DBSnapshotIdentifier=COPY)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    wire.client.create_db_snapshot(
        DBInstanceIdentifier=OWN,
        DBSnapshotIdentifier=COPY,
        Tags=[{"Key": RUN, "Value": "r5a1"}, {"Key": NOT_BEFORE, "Value": later}],
    )
    assert not kept.is_taken()
    with pytest.raises(StepFailed, match="before the application had stopped"):
        kept.prove()
    with pytest.raises(NeedsHuman, match="before the application had stopped"):
        kept.restore(at=AT)
    assert set(names(wire)) == {OWN}


def test_waiting_is_bounded_and_a_server_that_does_not_come_back_needs_somebody(wire: Wire) -> None:
    def creating(answer: Any) -> Any:  # noqa: ANN401
        for found in answer["DBSnapshots"]:
            found["Status"] = "creating"
        return answer

    said: list[str] = []
    kept = snapshot(wire, patience=Patience(take_s=0.1, restore_s=0.1, every_s=0.01), say=said.append)
    wire.changes["describe_db_snapshots"] = creating
    with pytest.raises(TimedOut, match="takes snapshot 'lakeside-freshet-r5a1' for longer than 0 s"):
        kept.take(at=AT)
    assert any("% of snapshot" in line for line in said)
    wire.changes.clear()
    kept.take(at=AT)
    with pytest.raises(NeedsHuman, match="look in RDS which of them serves"):
        replace(kept, sessions=closed).restore(at=AT)
    assert kept.restore(at=AT) is False, "it only had to come up"


def test_a_worker_that_lost_the_run_touches_nothing_more(wire: Wire) -> None:
    kept = snapshot(wire)
    kept.take(at=AT)

    def lost() -> None:
        raise Unavailable("another worker took the run over")

    with pytest.raises(Unavailable):
        replace(kept, proven=lost).restore(at=AT)
    assert names(wire).keys() == {OWN, COPY}, "what it had begun is there, nothing was renamed"


def test_what_aws_refuses_and_what_it_does_not_answer(wire: Wire, endpoint: str) -> None:
    away = boto3.client(
        "rds", endpoint_url="http://127.0.0.1:9", region_name=REGION, aws_access_key_id="x",
        aws_secret_access_key="x",
    )  # fmt: skip
    with pytest.raises(Unavailable, match="rds snapshot lakeside-freshet-r5a1: no answer"):
        replace(snapshot(wire), instances=RdsInstances(client=away)).is_taken()
    assert RdsInstances(client=wire).instance("nobody") is None
    RdsInstances(client=wire).forget("nobody")
    assert endpoint
    kept = snapshot(wire)
    with pytest.raises(StepFailed, match="it is gone"):
        kept.prove()
    wire.client.modify_db_instance(DBInstanceIdentifier=OWN, DeletionProtection=False)
    wire.client.delete_db_instance(DBInstanceIdentifier=OWN, SkipFinalSnapshot=True)
    with pytest.raises(NeedsHuman, match="knows no instance 'lakeside'"):
        replace(kept, server=kept.server).restore(at=AT)


def test_an_instance_that_aws_itself_is_at_work_on_is_waited_for(wire: Wire) -> None:
    busy = {"create_db_snapshot": 2, "modify_db_instance": 3}
    client = wire.client

    class Backup:
        """AWS begins a backup whenever it likes."""

        def __getattr__(self, name: str) -> Callable[..., Any]:
            def call(**words: object) -> object:
                if busy.get(name, 0):
                    busy[name] -= 1
                    raise ClientError({"Error": {"Code": "InvalidDBInstanceState", "Message": ""}}, name)
                return getattr(client, name)(**words)

            return call

    said: list[str] = []
    kept = snapshot(wire, instances=RdsInstances(client=Backup()), say=said.append)
    kept.take(at=AT)
    assert kept.restore(at=AT)
    assert set(names(wire)) == {OWN, FAILED}
    assert sum("not in a state for it" in line for line in said) == 5


def test_a_worker_that_aws_does_not_let_in_says_so_and_is_kept_from_nothing_else(
    wire: Wire, trial_cluster: Cluster
) -> None:
    def denied(_answer: object) -> object:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "DescribeDBInstances")

    kept = snapshot(wire)
    kept.take(at=AT)
    wire.changes = dict.fromkeys(("describe_db_instances", "describe_db_snapshots"), denied)
    said: list[str] = []
    with psycopg.connect(trial_cluster.dsn(), autocommit=True) as admin:

        @contextmanager
        def asked(_database: str) -> Iterator[Admin]:
            yield admin

        rows = admin.execute("select datname::text from pg_database where not datistemplate").fetchall()
        ours = tuple(DatabaseName(name) for (name,) in rows if name != "postgres" and "__" not in name)
        shut_out = replace(kept, sessions=asked, databases=ours, say=said.append)
        assert "does not let Freshet look" in shut_out.why_not(Demand(size=1))
    assert (shut_out.is_taken(), shut_out.is_restored(), shut_out.drop()) == (False, False, False)
    assert "is left to the sweep" in said[-1]
    with pytest.raises(Refused, match="AccessDenied"):
        shut_out.clear()
    wire.changes.clear()
    assert kept.clear() == [f"deleted RDS snapshot {COPY}"]


def test_it_is_refused_where_it_would_take_others_back_or_could_not_be_put_back(
    wire: Wire, trial_cluster: Cluster
) -> None:
    kept = snapshot(wire)
    demand = Demand(size=10**9, wanted=Kind.RDS)
    with psycopg.connect(trial_cluster.dsn(), autocommit=True) as admin:
        rows = admin.execute("select datname::text from pg_database where not datistemplate").fetchall()
        ours = tuple(DatabaseName(name) for (name,) in rows if name != "postgres" and "__" not in name)

        @contextmanager
        def asked(_database: str) -> Iterator[Admin]:
            yield admin

        alone = replace(kept, sessions=asked, databases=ours)
        assert alone.why_not(demand) == ""
        admin.execute(SQL("create database {}").format(Identifier("payroll_r5")))
        assert "would take back 'payroll_r5' as well" in alone.why_not(demand)
        admin.execute(SQL("drop database {}").format(Identifier("payroll_r5")))
        assert "FRESHET_AWS_REGION" in replace(alone, region="us-east-1").why_not(demand)
        long = replace(alone.server, host=f"{'a' * 50}.{alone.server.host.partition('.')[2]}")
        assert "too long" in replace(alone, server=long).why_not(demand)
        wire.client.create_db_instance_read_replica(
            DBInstanceIdentifier="lakeside-reader", SourceDBInstanceIdentifier=OWN
        )
        assert "replicas would go on" in alone.why_not(demand)
