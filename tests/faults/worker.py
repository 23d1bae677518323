"""A worker: a real process that carries out one request as the flow does, without a Prefect server.

Invariant: all of the engine is what ships; only the application's stages and its health check are the small
application's. `python -m tests.faults.worker R1` carries out one request; `--nursery` imports everything
once and forks a worker for each line on its input, because importing takes longer than a run. `--flow R1`
lets Prefect call the flow.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal

import tasks.application
import tasks.carry_out
import tasks.check_health
import tasks.hold
import tasks.pair
from flows.refresh import refresh
from flows.sweep import sweep_once
from flows.undo import undo
from flows.upgrade import upgrade
from infra.failpoints import failpoint
from infra.ledger import requests
from infra.protection_file import load_protection
from policy.names import RequestId
from policy.request import Kind
from tasks.world import open_world
from tests.faults import leaf
from tests.faults.undefended import remove_defence

ROLES = Path(__file__).with_name("roles")
FLOWS: dict[Kind, Flow[[str], State[None]]] = {
    Kind.REFRESH: refresh,
    Kind.UPGRADE: upgrade,
    Kind.UNDO: undo,
}
TRACE = "FRESHET_TEST_TRACE"
"""Environment variable: the file that gets a line for every failpoint that is reached."""
PATIENCE = "FRESHET_TEST_PATIENCE"
"""Environment variable: how many seconds a worker waits for the ledger, when a test has less time."""


def _replace(original: object, by: object) -> None:
    name = getattr(original, "__name__", "")
    for module in list(sys.modules.values()):
        if module.__name__.startswith("tasks.") and getattr(module, name, None) is original:
            setattr(module, name, by)


def _traced(point: str) -> None:
    trace = os.environ.get(TRACE)
    if trace:
        with Path(trace).open("a", encoding="utf-8") as file:
            file.write(f"{point}\n")
    failpoint(point)


def prepare() -> None:
    """Put the small application in the place of Ansible's."""
    _replace(tasks.application.stages, leaf.stages)
    _replace(tasks.application.get_ready, leaf.get_ready)
    _replace(tasks.check_health.wait_until_healthy, leaf.wait_until_healthy)
    _replace(tasks.check_health.baselines, leaf.baselines)
    _replace(load_protection, partial(load_protection, roles=ROLES))
    _replace(failpoint, _traced)


def work(request: str) -> dict[str, object]:
    """Carry out `request` (or `sweep`) and tell how the flow says it ended."""
    if request.startswith("sweep"):
        return {"name": "sweep", "found": sweep_once(dry_run=request.endswith("--dry-run"))}
    world = open_world()
    with world.ledger.transaction() as connection:
        kind = requests.get(connection, RequestId(request)).kind
    state = FLOWS[kind].fn(request)
    return {"name": state.name, "message": state.message}


def as_flow(request: str) -> dict[str, object]:
    """Carry out `request` as Prefect does: a flow run with its tasks, states and artifacts."""
    world = open_world()
    with world.ledger.transaction() as connection:
        kind = requests.get(connection, RequestId(request)).kind
    state = FLOWS[kind](request, return_state=True)
    return {"name": state.name, "message": state.message}


def _terminate(number: int, _: FrameType | None) -> None:
    # What Prefect's engine makes of the signal in a flow's process.
    raise TerminationSignal(signal=number)


def _child(order: dict[str, object]) -> None:
    out = Path(str(order["out"]))
    with out.with_suffix(".log").open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    environment = order["env"]
    if isinstance(environment, dict):
        os.environ.update(environment)
    remove_defence()
    tasks.hold.LEDGER_PATIENCE = float(os.environ.get(PATIENCE, tasks.hold.LEDGER_PATIENCE))
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 0
    try:
        told = work(str(order["request"]))
    except BaseException as error:  # noqa: BLE001 - the test reads how a worker ended, whatever it was
        traceback.print_exc()
        told, code = {"name": type(error).__name__, "message": str(error)}, 3
    out.write_text(json.dumps(told), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def nursery() -> None:
    """Fork a worker for each order on the standard input; tell process ids and ends on the output."""
    chosen = selectors.DefaultSelector()
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    chosen.register(0, selectors.EVENT_READ, "order")
    chosen.register(awake, selectors.EVENT_READ, "end")
    pending = b""
    _tell(ready=os.getpid())
    while True:
        for key, _ in chosen.select():
            read = os.read(key.fd, 65536)
            if key.data == "order":
                if not read:
                    return
                *lines, pending = (pending + read).split(b"\n")
                for line in lines:
                    _fork(json.loads(line), lambda: os.close(awake))
        _reap()


def _fork(order: dict[str, object], before: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(0)
        before()
        os.setsid()
        _child(order)
    _tell(order=order["order"], pid=pid)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(ended=pid, code=os.waitstatus_to_exitcode(status))


def _tell(**words: object) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


if __name__ == "__main__":
    prepare()
    if sys.argv[1] == "--nursery":
        nursery()
    elif sys.argv[1] == "--flow":
        sys.stdout.write(json.dumps(as_flow(sys.argv[2])) + "\n")
    else:
        signal.signal(signal.SIGTERM, _terminate)
        sys.stdout.write(json.dumps(work(sys.argv[1])) + "\n")
