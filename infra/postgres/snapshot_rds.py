"""The snapshot that Amazon RDS takes of a whole instance, for one that a web application has to itself.

It is put back beside: a second instance is made from the snapshot and set up as the first; when it is there,
the two change names, so that the address stays. What the run made of the first is kept under a third name.

Invariant: every name derives from the run, so that each state is told by which names exist; the instance
that serves keeps its name until the restored one stands ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from infra.postgres.dedicated import shared_with
from infra.postgres.snapshot_kind import Demand, Kind, Sessions
from infra.rds_instances import Facts, RdsInstances
from policy.errors import Busy, NeedsHuman, Refused, StepFailed, TimedOut, Unavailable
from policy.machines import DatabaseServer
from policy.names import DatabaseName, RunId

READY = "available"
BROKEN = frozenset(
    {"failed", "incompatible-restore", "incompatible-network", "incompatible-parameters", "storage-full",
     "restore-error", "inaccessible-encryption-credentials"}
)  # fmt: skip
"""States that time does not mend. Source: the user guide's list of the states of an instance."""
LONGEST_NAME = 63
NOT_BEFORE = "freshet:not-before"
RUN = "freshet:run"
SUFFIXES = (".rds.amazonaws.com", ".rds.amazonaws.com.cn")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long AWS may take, and how often it is asked."""

    take_s: float = 3600.0
    restore_s: float = 7200.0
    every_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Rds:
    """The snapshot of one instance by one run.

    Attributes:
        region: where `instances` asks.
        proven: proves, whenever AWS was waited for, that the run is still this worker's.
        say: tells whoever watches how far AWS has come.
    """

    server: DatabaseServer
    databases: tuple[DatabaseName, ...]
    run: RunId
    sessions: Sessions
    instances: RdsInstances
    region: str
    proven: Callable[[], None]
    say: Callable[[str], None]
    patience: Patience = field(default_factory=Patience)

    @property
    def kind(self) -> Kind:
        """A snapshot by AWS."""
        return Kind.RDS

    @property
    def name(self) -> str:
        """The instance's own name, which its address begins with."""
        return self.server.host.partition(".")[0]

    @property
    def copy(self) -> str:
        """The name of the snapshot, and of the instance that is made from it."""
        return f"{self.name}-freshet-{self.run}"

    @property
    def failed(self) -> str:
        """The name under which what the run made is kept."""
        return f"{self.name}-freshet-failed-{self.run}"

    def why_not(self, demand: Demand) -> str:  # noqa: ARG002 - its size does not matter, AWS holds it
        """The instance is shared, followed, or not one that can be restored beside itself.

        Raises:
            Unavailable: the server or AWS does not answer.
        """
        if f".{self.region}.rds." not in self.server.host:
            return f"its address is not in region {self.region}; set FRESHET_AWS_REGION to where it is"
        if len(self.failed) > LONGEST_NAME:
            return f"its name is too long for '{self.failed}'; RDS takes {LONGEST_NAME} characters"
        with self.sessions("postgres") as admin:
            reason = shared_with(admin, self.databases)
        if reason:
            return reason
        try:
            found = self.instances.instance(self.name)
        except Refused as refused:
            return f"RDS does not let Freshet look: {refused}"
        if found is None:
            return f"RDS knows no instance '{self.name}' (an Aurora cluster has snapshots of another kind)"
        return _unfit(found)

    def is_taken(self) -> bool:
        """Whether AWS says that it is there, and it is what was asked for."""
        try:
            found = self.instances.snapshot(self.copy)
        except Refused:
            return False  # Whoever may not even look has taken none.
        return found is not None and not self._wrong(found)

    def take(self, *, at: datetime) -> int:  # noqa: ARG002 - AWS's own clock counts
        """Begin it, wait for it, prove it.

        Raises:
            StepFailed: AWS could not take it, or it is not what was asked for.
            TimedOut: AWS took too long.
            Refused: AWS does not let Freshet take it.
        """
        found = self.instances.snapshot(self.copy)
        if found is not None and found["Status"] in BROKEN:
            self.instances.forget(self.copy)
            raise StepFailed(f"RDS could not take snapshot '{self.copy}'; its events say why")
        if found is None:
            tags = {RUN: str(self.run), NOT_BEFORE: self.instances.now(self.name).isoformat()}
            self._begin(lambda: self.instances.keep(self.name, self.copy, tags=tags), self.patience.take_s)
        self._until(self._has_taken, self.patience.take_s, f"takes snapshot '{self.copy}'")
        self.prove()
        taken = self.instances.snapshot(self.copy)
        return int(taken["AllocatedStorage"]) * 2**30 if taken else 0

    def prove(self) -> None:
        """Ask AWS whether it is there, of which instance, how large, and when it was taken.

        Raises:
            StepFailed: it is not what was asked for.
        """
        found = self.instances.snapshot(self.copy)
        wrong = "it is gone" if found is None else self._wrong(found)
        if wrong:
            raise StepFailed(f"snapshot '{self.copy}' of server '{self.server.name}': {wrong}")

    def restore(self, *, at: datetime) -> bool:  # noqa: ARG002 - AWS keeps the times
        """Make a second instance from the snapshot, let the two change names, wait until it serves.

        Raises:
            NeedsHuman: AWS cannot make it, does not let Freshet, or needs too long; nothing is deleted.
            Unavailable: AWS does not answer; try again.
        """
        try:
            changed = self._exchange()
            self._until(self._serves, self.patience.restore_s, f"brings '{self.name}' back")
        except (Refused, StepFailed) as error:
            raise NeedsHuman(
                f"server '{self.server.name}': {error}; instances '{self.name}', '{self.copy}' and "
                f"'{self.failed}' are left as they are; look in RDS which of them serves"
            ) from error
        return changed

    def is_restored(self) -> bool:
        """Whether the restored instance has the name, and the other one is kept beside."""
        names = (self.name, self.failed, self.copy)
        try:
            return [self.instances.instance(name) is not None for name in names] == [True, True, False]
        except Refused:
            return False

    def drop(self) -> bool:
        """Delete the snapshot; whether there was one. What AWS does not delete now, the sweep deletes."""
        try:
            return self._forget()
        except (Refused, Unavailable) as error:
            self.say(f"RDS: snapshot {self.copy} is left to the sweep: {error}")
            return False

    def bring_up(self) -> None:
        """Taking it stops nothing."""

    def clear(self) -> Sequence[str]:
        """Delete the snapshot. An instance is never deleted: whoever knows what hangs on it does that."""
        lines = [f"deleted RDS snapshot {self.copy}"] if self._forget() else []
        if self.instances.instance(self.failed) is not None:
            lines.append(
                f"left alone: RDS instance {self.failed} holds what the failed release made; delete it in RDS"
            )
        return lines

    def _forget(self) -> bool:
        if self.instances.snapshot(self.copy) is None:
            return False
        self.instances.forget(self.copy)
        return True

    def _wrong(self, found: Facts) -> str:
        told = {tag["Key"]: tag["Value"] for tag in found.get("TagList", ())}
        if found["Status"] != READY:
            return f"it is {found['Status']}"
        # A snapshot may follow its instance into the name under which that is kept.
        if found["DBInstanceIdentifier"] not in {self.name, self.failed}:
            return f"it is of instance '{found['DBInstanceIdentifier']}'"
        if told.get(RUN) != str(self.run) or NOT_BEFORE not in told:
            return "this run did not take it"
        if found["SnapshotCreateTime"] < datetime.fromisoformat(told[NOT_BEFORE]):
            return "it was taken before the application had stopped"
        return "" if int(found["AllocatedStorage"]) > 0 else "it is empty"

    def _has_taken(self) -> bool:
        found = self.instances.snapshot(self.copy)
        if found is None:
            return False
        if found["Status"] in BROKEN:
            raise StepFailed(f"RDS could not take snapshot '{self.copy}'; its events say why")
        self.say(f"RDS: {found.get('PercentProgress', 0)} % of snapshot {self.copy}")
        return bool(found["Status"] == READY)

    def _exchange(self) -> bool:
        """From whatever state the names tell to the last one; whether anything was changed."""
        if self.is_restored():
            return False
        longest = self.patience.restore_s
        if self.instances.instance(self.failed) is None:
            old = self.instances.instance(self.name)
            if old is None:
                raise NeedsHuman(f"RDS knows no instance '{self.name}' and none that was set aside from it")
            if self.instances.instance(self.copy) is None:
                self.prove()
                like, tags = old, {RUN: str(self.run)}
                self._begin(
                    lambda: self.instances.restore(self.copy, self.copy, like=like, tags=tags), longest
                )
            self._until(lambda: self._is_ready(self.copy), longest, f"restores '{self.copy}'")
            self.proven()
            self._begin(lambda: self.instances.rename(self.name, self.failed), longest)
        self._until(lambda: self._is_ready(self.failed), longest, f"sets '{self.name}' aside")
        self.proven()
        self._begin(lambda: self.instances.rename(self.copy, self.name), longest)
        self._until(self.is_restored, longest, f"gives '{self.copy}' its name")
        return True

    def _begin(self, act: Callable[[], None], longest_s: float) -> None:
        """Begin `act` as soon as AWS is done with what it does by itself, such as a backup."""

        def begun() -> bool:
            try:
                act()
            except Busy as busy:
                self.say(f"RDS: {busy}")
                return False
            return True

        self._until(begun, longest_s, "is busy with the instance")

    def _is_ready(self, name: str) -> bool:
        found = self.instances.instance(name)
        if found is None:
            return False
        state = str(found["DBInstanceStatus"])
        if state in BROKEN:
            raise NeedsHuman(f"RDS instance '{name}' is {state}; look at its events, nothing was deleted")
        self.say(f"RDS: instance {name} is {state}")
        return state == READY

    def _serves(self) -> bool:
        if not self._is_ready(self.name):
            return False
        found = self.instances.instance(self.name)
        address = ((found or {}).get("Endpoint") or {}).get("Address")
        if address != self.server.host:
            raise NeedsHuman(
                f"server '{self.server.name}' has the address {address} after the put-back; "
                "let the estate name it"
            )
        try:
            with self.sessions("postgres"):
                return True
        except Unavailable:
            return False

    def _until(self, reached: Callable[[], bool], longest_s: float, what: str) -> None:
        give_up = time.monotonic() + longest_s
        while not reached():
            if time.monotonic() > give_up:
                raise TimedOut(f"RDS {what} for longer than {longest_s:.0f} s")
            time.sleep(self.patience.every_s)
            self.proven()


def _unfit(found: Facts) -> str:
    if found.get("DBClusterIdentifier"):
        return "the instance belongs to a cluster, which has snapshots of another kind"
    if not str(found.get("Engine", "")).startswith("postgres"):
        return f"the instance is of engine '{found.get('Engine')}'"
    if found.get("ReadReplicaDBInstanceIdentifiers") or found.get("ReadReplicaSourceDBInstanceIdentifier"):
        return "replicas would go on following what failed; remove them, and make them anew after the upgrade"
    if found["DBInstanceStatus"] != READY:
        return f"the instance is {found['DBInstanceStatus']}"
    return ""
