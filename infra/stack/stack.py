"""The embedded stack as a whole: everything that Freshet needs, on one machine, without root or Docker.

Invariant: `up` and `down` bring any state they find (half started, killed, rebooted) to all or nothing, and
only what carries this stack's cookie is ever ended.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from infra.ledger.migrate import migrate
from infra.secrets import SecretFiles
from infra.stack import demo_estate, keyring, settings_file
from infra.stack.aws_service import AwsService
from infra.stack.cluster_service import LEDGER_ROLE, PREFECT_ROLE, ClusterService, cluster_services
from infra.stack.deployments import Deployments
from infra.stack.layout import Layout
from infra.stack.lock import exclusive
from infra.stack.mail_service import MailService
from infra.stack.ports import SITES, Ports, asked_for, require_free
from infra.stack.prefect_services import PREFECT_PASSFILE, PrefectServer, PrefectWorker
from infra.stack.processes import carrying, end
from infra.stack.roles import DatabaseRole
from infra.stack.service import Service
from infra.stack.supervisor_service import SupervisorService
from policy.errors import Refused, Unavailable

Tell = Callable[[str], None]


class Stack:
    """The services below one state directory.

    Args:
        layout: its state directory.
        ports: where its services listen.
        tell: called with one line about what happens.
    """

    def __init__(self, *, layout: Layout, ports: Ports, tell: Tell) -> None:
        self.layout = layout
        self.ports = ports
        self.settings = settings_file.settings_of(layout, ports)
        self._tell = tell

    @classmethod
    def wanted(cls, *, state: Path, port_base: int | None, tell: Tell) -> Stack:
        """The stack in `state` as it shall be: with the ports asked for, or those of last time, or the usual.

        Raises:
            Refused: the ports asked for are none.
        """
        layout = Layout(state.resolve())
        ports = None if asked_for(port_base) else Ports.stored(layout.ports)
        return cls(layout=layout, ports=ports or Ports.asked(port_base), tell=tell)

    @classmethod
    def existing(cls, *, state: Path, tell: Tell) -> Stack:
        """The stack in `state` as it was last started, whatever the environment says now."""
        layout = Layout(state.resolve())
        return cls(layout=layout, ports=Ports.stored(layout.ports) or Ports.asked(None), tell=tell)

    def services(self) -> tuple[Service, ...]:
        """Every service, in an order in which each comes after what it needs."""
        layout, ports, settings = self.layout, self.ports, self.settings
        secrets = SecretFiles(layout.secrets)
        return (
            *cluster_services(layout, ports, secrets),
            AwsService(layout=layout, ports=ports, settings=settings),
            MailService(layout=layout, ports=ports, settings=settings),
            SupervisorService(layout=layout, ports=ports, settings=settings, secrets=secrets),
            PrefectServer(layout=layout, ports=ports, settings=settings),
            PrefectWorker(layout=layout, ports=ports, settings=settings),
        )

    def up(self) -> None:
        """Start what does not run, mend what is ill, leave the rest as it is.

        Raises:
            Refused: ports are taken, or were changed while the stack runs.
            Unavailable: a service did not come up; says which and why.
            Busy: another `up` or `down` works on this stack.
        """
        self.layout.create()
        with exclusive(self.layout.lock, wait_s=180.0, waiting=self._tell):
            services = self.services()
            self._require_ports(services)
            self._prepare()
            self._start(services)
        self._tell(f"the stack is up; Prefect: {self.settings['PREFECT_API_URL'].removesuffix('/api')}")

    def down(self) -> None:
        """Stop everything that belongs to this stack; harmless when nothing runs.

        Raises:
            Unavailable: a process survived being killed.
            Busy: another `up` or `down` works on this stack.
        """
        if not self.layout.state.is_dir():
            self._tell(f"nothing to stop: {self.layout.state} does not exist")
            return
        with exclusive(self.layout.lock, wait_s=180.0, waiting=self._tell):
            for service in reversed(self.services()):
                if service.running():
                    began = time.monotonic()
                    service.stop()
                    self._tell(f"  {service.name:<15} stopped after {time.monotonic() - began:.1f} s")
            left = carrying(self.layout.state)
            if left:
                # Flow runs of a dead worker, web applications of a dead supervisor, a service of older ports.
                end(left, grace_s=5.0)
                self._tell(f"  {len(left)} more processes of this stack stopped")
            if self.layout.temporary.exists():
                shutil.rmtree(self.layout.temporary)
        self._tell("the stack is down")

    def _require_ports(self, services: Sequence[Service]) -> None:
        before = Ports.stored(self.layout.ports)
        if before not in {None, self.ports} and carrying(self.layout.state):
            raise Refused("the ports cannot change while the stack runs; run `freshet down` first")
        wanted = {
            port: service.what for service in services if not service.running() for port in service.ports
        }
        if self.ports.supervisor in wanted:
            sites = range(self.ports.sites, self.ports.sites + SITES)
            wanted.update(dict.fromkeys(sites, "a site of the demo estate"))
        require_free(wanted)
        self.ports.store(self.layout.ports)

    def _prepare(self) -> None:
        """Everything that a service reads at its start."""
        of_customers = [name for each in demo_estate.CUSTOMERS for name in keyring.of_customer(each)]
        secrets = keyring.create(self.layout.secrets, [*keyring.STACK, *of_customers])
        passfiles: Mapping[str, DatabaseRole] = {
            settings_file.LEDGER_PASSFILE: LEDGER_ROLE,
            PREFECT_PASSFILE: PREFECT_ROLE,
        }
        for name, role in passfiles.items():
            keyring.write_passfile(
                self.layout.secrets / name,
                port=self.ports.control,
                database=role.database or role.name,
                user=role.name,
                password=secrets.read(role.secret).get_secret_value(),
            )
        settings_file.write(self.layout.settings, self.settings)

    def _start(self, services: Sequence[Service]) -> None:
        """Start all at once, each as soon as what it needs serves."""
        stopping = threading.Event()
        jobs: dict[str, Future[None]] = {}
        executor = ThreadPoolExecutor(max_workers=len(services) + 1, thread_name_prefix="freshet-up")
        try:
            for service in services:
                needs = [jobs[need] for need in service.after]
                jobs[service.name] = executor.submit(self._bring_up, service, needs, services, stopping)
            if "prefect-server" in jobs:
                # Beside the worker's start: neither needs the other.
                jobs["deployments"] = executor.submit(self._register, jobs["prefect-server"], services)
            for name, job in jobs.items():
                try:
                    job.result()
                except Unavailable as error:
                    raise Unavailable(f"{name}: {error}") from error
        finally:
            # After an error or Ctrl-C: what has started stays, a second `up` or `down` finds it.
            stopping.set()
            executor.shutdown(wait=True, cancel_futures=True)

    def _bring_up(
        self,
        service: Service,
        needs: Sequence[Future[None]],
        services: Sequence[Service],
        stopping: threading.Event,
    ) -> None:
        """Start one service once what it needs serves, and do what becomes possible then."""
        if any(need.exception() is not None for need in needs):
            raise Unavailable(f"it waits for {' and '.join(service.after)}, of which one did not start")
        began = time.monotonic()
        ran = service.running()
        if ran and (ailment := service.ailment()) is not None and not isinstance(service, ClusterService):
            self._tell(f"  {service.name:<15} is ill ({ailment}); it is started anew")
            service.stop()
            ran = False
        # Also when it runs: a killed `up` may have left it running and unfurnished.
        service.start(stopping)
        state = "runs already" if ran else f"ready after {time.monotonic() - began:.1f} s"
        self._tell(f"  {service.name:<15} {service.what}: {state}")
        self._afterwards(service, services)

    def _afterwards(self, service: Service, services: Sequence[Service]) -> None:
        """What becomes possible when `service` serves."""
        if service.name == "control":
            applied = migrate(
                self.settings["FRESHET_LEDGER"], self.layout.secrets / settings_file.LEDGER_PASSFILE
            )
            if applied:
                self._tell(f"  ledger: applied {', '.join(applied)}")
        elif service.name == "supervisor":
            self._render_estate(services)

    def _render_estate(self, services: Sequence[Service]) -> None:
        if self.settings["FRESHET_ESTATE"] != str(self.layout.estate):
            return
        if not demo_estate.render(self.layout, self.ports, _identities(services)):
            self._tell(f"  {self.layout.estate} was edited by hand and is left as it is")

    def _register(self, server: Future[None], services: Sequence[Service]) -> None:
        """Register Prefect's deployments, if the server serves and anything about them has changed."""
        if server.exception() is not None:
            return
        began = time.monotonic()
        deployments = Deployments(
            layout=self.layout, settings=self.settings, database=_identities(services)["control"]
        )
        if not deployments.current():
            deployments.register()
            self._tell(f"  {'deployments':<15} registered after {time.monotonic() - began:.1f} s")


def _identities(services: Sequence[Service]) -> dict[str, str]:
    """The system identifier of each cluster."""
    return {
        service.name: service.cluster.system_identifier()
        for service in services
        if isinstance(service, ClusterService)
    }
