"""A client of RDS on which calls fail, answer otherwise, or are a worker's last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3

REGION = "eu-west-1"
OWN, COPY, FAILED = "lakeside", "lakeside-freshet-r5a1", "lakeside-freshet-failed-r5a1"


class Killed(BaseException):
    """The worker is gone; nothing catches this."""


@dataclass
class Wire:
    """The client, through which a test may let calls fail, or be a worker's last."""

    client: Any
    calls: list[str] = field(default_factory=list)
    dies_after: int | None = None
    changes: dict[str, Callable[[Any], Any]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**words: object) -> object:
            answer = getattr(self.client, name)(**words)
            if not name.startswith("describe"):
                self.calls.append(name)
                if self.dies_after == len(self.calls):
                    raise Killed
            return self.changes.get(name, lambda same: same)(answer)

        return call


def fresh_wire(endpoint: str) -> Wire:
    """An account with one instance, whatever an earlier test left in it."""
    client: Any = boto3.client(
        "rds",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    for instance in client.describe_db_instances()["DBInstances"]:
        name = instance["DBInstanceIdentifier"]
        client.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False)
        client.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    for snapshot in client.describe_db_snapshots()["DBSnapshots"]:
        client.delete_db_snapshot(DBSnapshotIdentifier=snapshot["DBSnapshotIdentifier"])
    for group in client.describe_db_parameter_groups()["DBParameterGroups"]:
        if not group["DBParameterGroupName"].startswith("default"):
            client.delete_db_parameter_group(DBParameterGroupName=group["DBParameterGroupName"])
    client.create_db_parameter_group(
        DBParameterGroupName="lakeside-18", DBParameterGroupFamily="postgres18", Description="its own"
    )
    client.create_db_instance(
        DBInstanceIdentifier=OWN, Engine="postgres", DBInstanceClass="db.m7g.large", AllocatedStorage=40,
        MasterUsername="freshet", MasterUserPassword="not-a-secret", Port=5433, MultiAZ=True,
        VpcSecurityGroupIds=["sg-0a", "sg-0b"], DBParameterGroupName="lakeside-18",
        DeletionProtection=True, Tags=[{"Key": "customer", "Value": "lakeside"}],
    )  # fmt: skip
    return Wire(client)
