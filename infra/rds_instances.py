"""DB instances and their snapshots at Amazon RDS: every call that Freshet makes there, named by what it does.

Invariant: each call may be made again: what exists already is found, what is gone already is not missed. An
answer that no repetition can change is `Refused`; an instance that AWS itself is at work on is `Busy`; every
other failure is `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError

from infra.aws_client import calling
from policy.errors import Busy, Refused

Facts = Mapping[str, Any]
"""An instance or a snapshot, in the words of the service."""

REFUSALS = (
    "AccessDenied",
    "UnauthorizedOperation",
    "SnapshotQuotaExceeded",
    "InstanceQuotaExceeded",
    "StorageQuotaExceeded",
    "KMSKeyNotAccessibleFault",
    "DBParameterGroupNotFound",
    "DBSubnetGroupNotFoundFault",
    "InvalidVPCNetworkStateFault",
    "InvalidParameterValue",
    "InvalidParameterCombination",
)
_GONE = frozenset({"DBInstanceNotFound", "DBSnapshotNotFound"})
_THERE = frozenset({"DBInstanceAlreadyExists", "DBSnapshotAlreadyExists"})


@dataclass(frozen=True, kw_only=True)
class RdsInstances:
    """The instances of one account and region.

    Attributes:
        client: of the service `rds`, from `infra.aws_client`.
    """

    client: Any

    def instance(self, name: str) -> Facts | None:
        """The instance called `name`, or None."""
        answer = self._ask("describe_db_instances", f"instance {name}", DBInstanceIdentifier=name)
        return None if answer is None else answer["DBInstances"][0]

    def snapshot(self, name: str) -> Facts | None:
        """The manual snapshot called `name`, or None."""
        answer = self._ask("describe_db_snapshots", f"snapshot {name}", DBSnapshotIdentifier=name)
        return None if answer is None or not answer["DBSnapshots"] else answer["DBSnapshots"][0]

    def now(self, name: str) -> datetime:
        """What time it is at AWS, to the second, told with an answer about the instance `name`."""
        with calling(f"rds instance {name}", refusals=REFUSALS):
            answer = self.client.describe_db_instances(DBInstanceIdentifier=name)
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    def keep(self, instance: str, snapshot: str, *, tags: Mapping[str, str]) -> None:
        """Begin `snapshot` of `instance`, unless it was begun."""
        self._ask(
            "create_db_snapshot",
            f"snapshot {snapshot}",
            expected=_THERE,
            DBInstanceIdentifier=instance,
            DBSnapshotIdentifier=snapshot,
            Tags=_tags(tags),
        )

    def forget(self, snapshot: str) -> None:
        """Delete `snapshot`, unless it is gone."""
        self._ask("delete_db_snapshot", f"snapshot {snapshot}", DBSnapshotIdentifier=snapshot)

    def restore(self, snapshot: str, instance: str, *, like: Facts, tags: Mapping[str, str]) -> None:
        """Begin to make `instance` from `snapshot`, set up as `like` is, unless that was begun."""
        own = {
            tag["Key"]: tag["Value"] for tag in like.get("TagList", ()) if not tag["Key"].startswith("aws:")
        }
        self._ask(
            "restore_db_instance_from_db_snapshot",
            f"instance {instance}",
            expected=_THERE,
            DBInstanceIdentifier=instance,
            DBSnapshotIdentifier=snapshot,
            Tags=_tags({**own, **tags}),
            **set_up(like),
        )

    def rename(self, instance: str, name: str) -> None:
        """Begin to give `instance` another name at once; its server restarts. Unless that was begun."""
        self._ask(
            "modify_db_instance",
            f"instance {instance}",
            DBInstanceIdentifier=instance,
            NewDBInstanceIdentifier=name,
            ApplyImmediately=True,
        )

    def _ask(
        self, operation: str, what: str, *, expected: frozenset[str] = _GONE, **words: object
    ) -> Facts | None:
        """The answer; None when it is one of the `expected` refusals."""
        with calling(f"rds {what}", refusals=REFUSALS):
            try:
                answer: Facts = getattr(self.client, operation)(**words)
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", "")).removesuffix("Fault")
                if code in expected:
                    return None
                if code == "InvalidDBInstanceState":
                    raise Busy(f"rds {what}: the instance is not in a state for it") from error
                raise
            except (NoCredentialsError, PartialCredentialsError) as error:
                raise Refused(f"rds {what}: this worker has no credentials for AWS") from error
        return answer


def set_up(like: Facts) -> dict[str, object]:
    """How an instance is set up, in the words in which another one is restored."""
    groups: Sequence[Facts] = like.get("DBParameterGroups", ())
    # AWS gives its own default group by itself, and some services know it under no name.
    options = [
        group
        for group in like.get("OptionGroupMemberships", ())
        if not group["OptionGroupName"].startswith("default:")
    ]
    told: dict[str, object] = {
        "DBInstanceClass": like.get("DBInstanceClass"),
        "Port": (like.get("Endpoint") or {}).get("Port"),
        "DBSubnetGroupName": (like.get("DBSubnetGroup") or {}).get("DBSubnetGroupName"),
        "VpcSecurityGroupIds": [group["VpcSecurityGroupId"] for group in like.get("VpcSecurityGroups", ())],
        "DBParameterGroupName": groups[0]["DBParameterGroupName"] if groups else None,
        "OptionGroupName": options[0]["OptionGroupName"] if options else None,
        "MultiAZ": like.get("MultiAZ"),
        "PubliclyAccessible": like.get("PubliclyAccessible"),
        "AutoMinorVersionUpgrade": like.get("AutoMinorVersionUpgrade"),
        "StorageType": like.get("StorageType"),
        "Iops": like.get("Iops"),
        "CopyTagsToSnapshot": like.get("CopyTagsToSnapshot"),
        "EnableIAMDatabaseAuthentication": like.get("IAMDatabaseAuthenticationEnabled"),
        "EnableCloudwatchLogsExports": like.get("EnabledCloudwatchLogsExports"),
        "DeletionProtection": like.get("DeletionProtection"),
        "CACertificateIdentifier": like.get("CACertificateIdentifier"),
    }
    return {key: value for key, value in told.items() if value not in (None, [], "")}


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
