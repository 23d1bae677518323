"""Prefect's server and one process worker, as programs; nothing here imports Prefect.

Invariant: the server keeps its state in PostgreSQL (on SQLite it deadlocks at fifty concurrent runs), and
its password is read from a file by the driver.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx

from infra.stack.daemon import Daemon
from infra.stack.layout import PROJECT, Layout
from infra.stack.ports import Ports, is_free
from infra.stack.program_service import ProgramService
from infra.stack.settings_file import environment
from policy.errors import Unavailable

POOL = "freshet"
PREFECT_PASSFILE = "pgpass-prefect"


class PrefectServer(ProgramService):
    """The server: API, UI, scheduler and automations in one process."""

    within_s = 180.0
    name = "prefect-server"
    what = "Prefect server"
    after: tuple[str, ...] = ("control",)

    def __init__(self, *, layout: Layout, ports: Ports, settings: Mapping[str, str]) -> None:
        self.ports: tuple[int, ...] = (ports.prefect,)
        self._base = f"http://127.0.0.1:{ports.prefect}"
        self.daemon = Daemon(
            command=[
                sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1",
                "--port", str(ports.prefect), "--log-level", "WARNING",
            ],
            state=layout.state,
            log=layout.logs / f"{self.name}.log",
            environment={
                **environment(settings),
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": (
                    f"postgresql+asyncpg://prefect@127.0.0.1:{ports.control}/prefect"
                ),
                "PGPASSFILE": str(layout.secrets / PREFECT_PASSFILE),
                "PREFECT_UI_API_URL": f"{self._base}/api",
            },
            directory=layout.prefect,
        )  # fmt: skip

    def start(self, stopping: threading.Event) -> None:
        """Start it, wait for its API, and create the pool; the first start creates its tables."""
        super().start(stopping)
        try:
            pool = {"name": POOL, "type": "process"}
            answer = httpx.post(f"{self._base}/api/work_pools/", json=pool, timeout=10.0)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the work pool {POOL} could not be created ({type(error).__name__})"
            ) from error
        if answer.status_code not in {httpx.codes.CREATED, httpx.codes.CONFLICT}:
            raise Unavailable(f"the work pool {POOL} could not be created: {answer.status_code}")

    def ailment(self) -> str | None:
        """What keeps its API from answering."""
        if is_free(self.ports[0]):
            return f"nobody listens on port {self.ports[0]}"
        try:
            answer = httpx.get(f"{self._base}/api/health", timeout=5.0)
        except httpx.HTTPError as error:
            return f"{self._base}/api does not answer ({type(error).__name__})"
        said = answer.status_code
        return None if said == httpx.codes.OK else f"{self._base}/api/health says {said}"


class PrefectWorker(ProgramService):
    """The process worker of the pool `freshet`: takes what is due and runs it as a process."""

    within_s = 120.0
    name = "prefect-worker"
    what = "Prefect worker"
    after: tuple[str, ...] = ("prefect-server", "aws", "mail", "supervisor", "live", "trial")
    ports: tuple[int, ...] = ()

    def __init__(self, *, layout: Layout, ports: Ports, settings: Mapping[str, str]) -> None:
        self._base = f"http://127.0.0.1:{ports.prefect}"
        self._worker = f"{POOL}-{ports.prefect}"
        self.daemon = Daemon(
            command=[
                sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process",
                "--name", self._worker,
            ],
            state=layout.state,
            log=layout.logs / f"{self.name}.log",
            environment=environment(settings),
            directory=PROJECT,
        )  # fmt: skip

    def ailment(self) -> str | None:
        """What keeps it from taking work."""
        process = self.daemon.process()
        if process is None:
            return "the worker does not run"
        try:
            answer = httpx.post(
                f"{self._base}/api/work_pools/{POOL}/workers/filter", json={"limit": 50}, timeout=5.0
            )
            workers = answer.json() if answer.status_code == httpx.codes.OK else []
        except (httpx.HTTPError, ValueError) as error:
            return f"Prefect's API does not tell about its workers ({type(error).__name__})"
        # Heard from since it was started: the server calls a worker online for a while after its death.
        born = datetime.fromtimestamp(process.create_time(), UTC)
        for worker in workers:
            heard = worker["last_heartbeat_time"] if worker["name"] == self._worker else None
            if heard and worker["status"] == "ONLINE" and datetime.fromisoformat(heard) >= born:
                return None
        return "Prefect's server has not heard from the worker"
