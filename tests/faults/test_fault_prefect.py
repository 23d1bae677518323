"""Prefect's server dies or hangs during a run: the work ends right, in time, and is told in the ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from infra.ledger import displays
from infra.ledger.displays import Shown
from infra.stack import automations
from infra.stack.deployments import AUTOMATIONS
from policy.request import Kind, Outcome
from tasks.settle import settle
from tests.faults.ground import Ground
from tests.faults.killing import Trial
from tests.faults.nursery import PROJECT, Nursery, reached
from tests.ports import free_port
from tests.waiting import wait_until

BOUND_S = 100.0
"""Within this the work has ended and the ledger tells how."""
FAREWELL_S = 300.0
"""After this the process is gone: Prefect's client tries for seven seconds with every event of the run that a
dead server does not take, and a call to one that hangs costs thirty, after the work was done and told."""
SILENT_S = 90.0
"""After this the server's automation takes a run for dead that nothing was heard of."""
PAGE_S = 45.0
"""For how long the maintenance page may stand, with a server that answers nothing."""


class PrefectServer:
    """A server of Prefect's own, in a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            # As the stack sets them (`infra.stack.settings_file`).
            "PREFECT_CLIENT_MAX_RETRIES": "2",
            "PREFECT_API_REQUEST_TIMEOUT": "10",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "freshet",
        }
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        return subprocess.Popen(
            [sys.executable, "-m", *command, "--log-level", "ERROR"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def answers(self) -> bool:
        """Whether its API is there."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.port}/api/health", timeout=2).status_code == 200
        return False

    def send(self, number: signal.Signals) -> None:
        """To the server and all its processes."""
        os.killpg(self.process.pid, number)

    def restart(self) -> None:
        """After a kill."""
        self.process.wait()
        self.process = self._start()
        wait_until(self.answers, 90)

    def states(self) -> list[str]:
        """How it shows the runs of flows."""
        return [str(each["state"]["name"]) for each in self._found()]

    def runs(self) -> list[UUID]:
        """The runs of flows that it knows."""
        return [UUID(str(each["id"])) for each in self._found()]

    def _found(self) -> list[dict[str, Any]]:
        answer = httpx.post(f"http://127.0.0.1:{self.port}/api/flow_runs/filter", json={}, timeout=10)
        found: list[dict[str, Any]] = answer.json()
        return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrefectServer]:
    made = PrefectServer(tmp_path / "prefect")
    try:
        wait_until(made.answers, 90)
        yield made
    finally:
        with suppress(ProcessLookupError):
            made.send(signal.SIGKILL)
        made.process.wait()


@contextmanager
def flow(
    ground: Ground, server: PrefectServer, request: str, point: str, trace: Path, action: str = "sleep:3"
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries out `request` as a Prefect flow, and stands still at `point` for a while."""
    environment = {
        **server.environment,
        **ground.env,
        "FRESHET_FAILPOINT": f"{point}={action}",
        "FRESHET_TEST_TRACE": str(trace),
    }
    with (trace.with_suffix(".log")).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.worker", "--flow", request],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("refresh.copy_masked.mid", signal.SIGKILL),
        ("upgrade.take_offline.mid.2", signal.SIGKILL),
        ("upgrade.take_offline.mid.2", signal.SIGSTOP),
        ("upgrade.conclude.mid", signal.SIGKILL),
    ],
)
def test_a_run_ends_right_without_its_prefect_server(
    ground: Ground,
    nursery: Nursery,
    server: PrefectServer,
    tmp_path: Path,
    point: str,
    number: signal.Signals,
) -> None:
    trial = Trial(ground, nursery, Kind(point.partition(".")[0]))
    trace = tmp_path / "trace"
    with flow(ground, server, trial.request, point, trace) as process:
        wait_until(lambda: reached(trace, point) or process.poll() is not None, 120)
        log = trace.with_suffix(".log").read_text(encoding="utf-8")
        assert process.poll() is None, log
        server.send(number)
        wait_until(lambda: ground.request(trial.request).outcome is not None, BOUND_S)
        # What is left is Prefect's own farewell: events and a state that nobody takes.
        if number is signal.SIGSTOP:
            # Half a minute for each event, as long as the server hangs: nobody waits for that.
            process.kill()
        out, _ = process.communicate(timeout=FAREWELL_S)
    assert trial.judge(Outcome.DONE) == []
    if trial.kind is Kind.UPGRADE:
        assert page_stood(ground, trial) < PAGE_S
    # What the flow itself says is told to nobody; when it says something, it is the truth.
    if process.returncode == 0:
        assert json.loads(out)["name"] == "Completed"
    server.send(signal.SIGKILL)
    server.restart()
    settled(ground, trial, server, server.runs()[0])
    assert server.states() == ["Completed"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_is_heard_of_no_more_is_shown_as_crashed_until_the_ledger_knows(
    ground: Ground, nursery: Nursery, server: PrefectServer, tmp_path: Path
) -> None:
    """Whoever kills worker and flow together leaves nobody who could tell Prefect's server."""
    api = server.environment["PREFECT_API_URL"]
    wanted = automations.declared(AUTOMATIONS)
    for _ in range(2):
        automations.register(api, wanted)
    assert automations.count(api, wanted) == len(wanted) == httpx.post(f"{api}/automations/count").json()
    ended = Trial(ground, nursery, Kind.REFRESH)
    failing = "refresh.check_health.after-act"
    with flow(ground, server, ended.request, failing, tmp_path / "ended", "raise") as process:
        process.communicate(timeout=120)
    assert server.states() == ["Put Back"]
    (shown_as_put_back,) = server.runs()
    killed = Trial(ground, nursery, Kind.REFRESH)
    trace, point = tmp_path / "killed", "refresh.copy_masked.mid"
    with flow(ground, server, killed.request, point, trace, "sleep:60") as process:
        wait_until(lambda: reached(trace, point) or process.poll() is not None, 120)
        assert process.poll() is None, trace.with_suffix(".log").read_text(encoding="utf-8")
    assert sorted(server.states()) == ["Put Back", "Running"]
    wait_until(lambda: sorted(server.states()) == ["Crashed", "Put Back"], SILENT_S + 60, 1.0)
    ground.let_lease_end()
    killed.resume()
    assert killed.judge(Outcome.DONE) == []
    (lost,) = set(server.runs()) - {shown_as_put_back}
    settled(ground, killed, server, lost)
    assert sorted(server.states()) == ["Completed", "Put Back"]


def settled(ground: Ground, trial: Trial, server: PrefectServer, flow_run: UUID) -> None:
    """What the dispatcher had noted of the Prefect run, and the sweep that comes when the server is back."""
    with ground.world.ledger.transaction() as connection:
        shown = Shown(
            request=trial.request,
            key=f"{trial.request}:1",
            flow_run=flow_run,
            scheduled_for=None,
        )
        displays.remember(connection, shown)
        connection.execute("alter table event disable trigger user")
        connection.execute(
            "update event set at = at - interval '1 hour' where request = %s", (trial.request.number,)
        )
        connection.execute("alter table event enable trigger user")
    settings = ground.settings.model_copy(update={"prefect_api": server.environment["PREFECT_API_URL"]})
    said = list(settle(replace(ground.world, settings=settings)))
    assert all(str(trial.request) in line for line in said), said
    assert list(settle(replace(ground.world, settings=settings))) == []


def page_stood(ground: Ground, trial: Trial) -> float:
    """Seconds from the beginning of the stop to the end of the reopening."""
    with ground.world.ledger.transaction() as connection:
        row = connection.execute(
            "select extract(epoch from max(ended_at) filter (where name = 'reopen')"
            " - min(started_at) filter (where name = 'take_offline')) as s from step where run = %s",
            (f"r{trial.request.number}a1",),
        ).fetchone()
    assert row is not None
    return float(str(row["s"]))
