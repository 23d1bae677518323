"""A PostgreSQL cluster as a service of the stack: made, started, and given its roles.

Invariant: three clusters, because Production and the copies must be two identities for the fences to be
real, and the ledger must not share a disk-full or a restart with either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg

from infra.secrets import SecretFiles
from infra.stack import keyring
from infra.stack.cloning import can_clone
from infra.stack.cluster import Cluster
from infra.stack.layout import Layout
from infra.stack.ports import Ports
from infra.stack.processes import cookie
from infra.stack.roles import OWNER_GROUPS, READER_GROUPS, DatabaseRole, establish, extend, sign
from policy.errors import Unavailable
from policy.names import SecretName

_STAND_IN = Path(__file__).with_name("pg_trgm")
LEDGER_ROLE = DatabaseRole(name="freshet", secret=keyring.LEDGER, database="freshet")
PREFECT_ROLE = DatabaseRole(
    name="prefect", secret=keyring.PREFECT, database="prefect", extensions=("pg_trgm",)
)
LIVE_OWNER = DatabaseRole(
    name="live_owner", secret=keyring.LIVE_OWNER, creates_databases=True, member_of=OWNER_GROUPS
)
LIVE_READER = DatabaseRole(
    name="live_reader", secret=keyring.LIVE_READER, member_of=READER_GROUPS, read_only=True
)
TRIAL_OWNER = DatabaseRole(
    name="trial_owner", secret=keyring.TRIAL_OWNER, creates_databases=True, member_of=OWNER_GROUPS
)


class ClusterService:
    """One cluster and the roles on it.

    Args:
        name: also the name of its data directory.
        what: what it is, for people.
        cluster: the server.
        roles: what `start` establishes.
        secrets: where the passwords are kept.
        admin: the superuser's secret.
    """

    after: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        name: str,
        what: str,
        cluster: Cluster,
        roles: Sequence[DatabaseRole],
        secrets: SecretFiles,
        admin: SecretName,
    ) -> None:
        self.name = name
        self.what = what
        self.ports: tuple[int, ...] = (cluster.port,)
        self.cluster = cluster
        self._roles = tuple(roles)
        self._secrets = secrets
        self._admin = admin

    def running(self) -> bool:
        """Whether the postmaster of this very directory runs."""
        return self.cluster.running()

    def start(self, stopping: threading.Event) -> None:
        """Make the cluster when there is none, start it, and establish its roles."""
        self.cluster.initialise()
        if stopping.is_set():
            raise Unavailable("stopped while it was starting; run `freshet up` again, or `freshet down`")
        if self.cluster.running() and self.ailment() is not None:
            # A postmaster that does not answer, or one still in recovery: give it the time of a recovery.
            deadline = time.monotonic() + 30.0
            while self.ailment() is not None and time.monotonic() < deadline and not stopping.is_set():
                stopping.wait(0.2)
        self.cluster.start()
        with closing(self.connect()) as admin:
            establish(admin, self._roles, self._secrets)
            if any(role.read_only for role in self._roles):
                sign(admin)  # Only Production has a reader.
        for role in self._roles:
            if role.database is not None and role.extensions:
                with closing(self.connect(role.database)) as admin:
                    extend(admin, role.extensions)

    def stop(self) -> None:
        """Stop it, ending sessions; at once when that takes too long."""
        try:
            self.cluster.stop()
        except Unavailable:
            self.cluster.stop(fast=False)

    def ailment(self) -> str | None:
        """What keeps it from answering a query."""
        try:
            with closing(self.connect()) as admin:
                admin.execute("SELECT 1")
        except Unavailable as error:
            return str(error)
        return None

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A superuser's connection in autocommit, for the stack itself and for tests.

        Raises:
            Unavailable: the server does not answer.
        """
        try:
            return psycopg.connect(
                self.cluster.dsn(database),
                password=self._secrets.read(self._admin).get_secret_value(),
                autocommit=True,
                connect_timeout=5,
                application_name="freshet-stack",
            )
        except psycopg.OperationalError as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise Unavailable(f"PostgreSQL on port {self.cluster.port} does not answer: {said}") from error


def cluster_services(layout: Layout, ports: Ports, secrets: SecretFiles) -> tuple[ClusterService, ...]:
    """The three clusters of the stack."""
    cloning = {"file_copy_method": "clone"} if layout.clusters.is_dir() and can_clone(layout.clusters) else {}
    # Prefect's migrations ask for pg_trgm, which the wheel does not bring; a real one is found first.
    prefect_needs = {"extension_control_path": f"$system:{_STAND_IN}"}

    def service(
        name: str, what: str, port: int, roles: Sequence[DatabaseRole], settings: dict[str, str]
    ) -> ClusterService:
        admin = keyring.ADMIN[name]
        cluster = Cluster(
            data=layout.clusters / name,
            port=port,
            settings=settings,
            superuser_auth="scram-sha-256",
            superuser_passfile=secrets.path(admin),
            environment=cookie(layout.state),
        )
        return ClusterService(
            name=name, what=what, cluster=cluster, roles=roles, secrets=secrets, admin=admin
        )

    return (
        service(
            "control",
            "PostgreSQL 18 for the ledger and Prefect",
            ports.control,
            (LEDGER_ROLE, PREFECT_ROLE),
            prefect_needs,
        ),
        service("live", "PostgreSQL 18 for Production", ports.live, (LIVE_OWNER, LIVE_READER), cloning),
        service("trial", "PostgreSQL 18 for Sandbox and Staging", ports.trial, (TRIAL_OWNER,), cloning),
    )
