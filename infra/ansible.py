"""Carries out stages of a hosted application on its hosts, through Ansible.

Invariant: when `run_stages` returns or raises, no process that it started is left on this machine, its
private folder is gone, and no secret's value has been written anywhere. Unreachable is not failed, and
neither is cancelled. What has begun on a host is never undone here: the put-back belongs to the flow.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pexpect
from ansible_runner import Runner

from infra import ansible_processes as processes
from infra.ansible_events import Account, Outcome, TaskEvent, TaskResult
from infra.ansible_guard import Gate, Guard
from infra.ansible_inventory import secret_files, write_inventory
from infra.ansible_start import configuration, private_folder
from infra.attended import Attended
from infra.roles import PLAYBOOKS
from infra.secrets import SecretFiles
from policy.errors import Cancelled, StepFailed, TimedOut, Unavailable
from policy.machines import Host

log = logging.getLogger(__name__)

APPLICATION = PLAYBOOKS / "application.yml"
LISTENER_SECONDS = 1.0
EVIDENCE_LIMIT = 200_000


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What stages did.

    Attributes:
        changed: how many tasks changed something; 0 means that all was as it should be.
        tasks: every task on every host, in order.
        facts: what the roles reported, for each host.
    """

    changed: int
    tasks: tuple[TaskResult, ...]
    seconds: float
    facts: Mapping[str, Mapping[str, object]]

    def fact(self, name: str) -> object:
        """The fact `name` of the first host that tells it, or None."""
        return next((facts[name] for facts in self.facts.values() if name in facts), None)


def run_stages(
    *,
    playbook: Path = APPLICATION,
    hosts: Sequence[Host],
    variables: Mapping[str, object],
    stages: Sequence[str],
    run: str,
    epoch: int,
    scratch: Path,
    secrets: SecretFiles,
    timeout_s: float,
    on_event: Callable[[TaskEvent], None],
    check: bool = False,
    serial: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    gate: Gate | None = None,
) -> StageResult:
    """Carry out `stages`, in this order, on `hosts`.

    Args:
        playbook: the playbook; it applies itself to the group `webapp`.
        hosts: where.
        variables: as in `docs/guide/applications.md`; secrets only as paths under keys ending in `_file`.
        stages: names of the role's stages.
        run: the run's id; with `epoch` it marks every process that is started.
        epoch: of the lease under which this is done.
        scratch: the run's folder; what the playbook wrote is kept in its `evidence`.
        secrets: where hosts' private keys lie.
        timeout_s: all of it may take so long, then it is ended.
        on_event: told what happens, from a thread of its own; may be slow.
        check: only look what would change.
        serial: so many hosts at a time; None means all at once.
        cancelled: asked several times a second; when it says so, all is ended.
        gate: nothing is done before it was opened, but Ansible starts at once; its time counts from then on.

    Raises:
        StepFailed: a task failed; the message is its own words.
        TimedOut: it took too long.
        Cancelled: `cancelled` said so.
        Unavailable: a host was not reached; what other hosts did stays done.
    """
    begun = time.monotonic()
    call = uuid.uuid4().hex
    redact = _redactor(variables)
    account = Account(stages, redact)
    told = " ".join(stages)
    guard = Guard(call=call, timeout_s=timeout_s, cancelled=cancelled, gate=gate)
    with private_folder(scratch) as private:
        write_inventory(
            private / "hosts.yml",
            hosts=hosts,
            variables={
                **variables,
                "stages": list(stages),
                "freshet_run": run,
                "freshet_epoch": epoch,
                **({} if gate is None else {"freshet_gate": gate.path.absolute()}),
            },
            secrets=secrets,
        )
        config = configuration(private, playbook, check=check, serial=serial)
        config.env |= {
            processes.RUN_COOKIE: f"{run}:{epoch}",
            processes.SCRATCH_COOKIE: str(scratch.resolve()),
            processes.CALL_COOKIE: call,
            **({} if gate is None else {"FRESHET_GATE": str(gate.path.absolute())}),
        }
        code: int | None = None
        try:
            with _told(on_event) as tell:

                def note(event: dict[str, object]) -> bool:
                    happened = account.take(event)
                    if happened is not None:
                        tell(happened)
                    return False

                runner = Runner(config, event_handler=note, cancel_callback=guard)
                try:
                    # Thrown out of its middle, the runner would leave files open.
                    Attended(runner.run, end=guard.give_up, name="ansible-runner").wait()
                    code = runner.rc
                except pexpect.TIMEOUT:
                    # The terminal stayed open after the end, held by a process that is ended below.
                    code = 0 if account.finished and account.failure is None else None
        finally:
            processes.end(processes.of_call(call))
            last_words = _keep_evidence(Path(config.artifact_dir), scratch / "evidence", told, redact)
    seconds = round(time.monotonic() - max(begun, guard.counts_from), 3)
    _judge(account, code, guard, told, f"{seconds:.1f} s", last_words)
    return StageResult(
        changed=account.changed,
        tasks=tuple(account.tasks),
        seconds=seconds,
        facts=account.facts,
    )


def end_leftovers(run: str, below_epoch: int, scratch: Path) -> int:
    """End what workers with an earlier epoch of `run` left running on this machine; returns how many.

    Args:
        run: the run.
        below_epoch: the epoch of whoever asks.
        scratch: the run's folder, as it was given to `run_stages`.

    Raises:
        Unavailable: some would not end.
    """
    try:
        return processes.end(processes.of_earlier_epochs(run, below_epoch, scratch))
    except TimeoutError as error:
        raise Unavailable(f"run {run}: {error}; end them by hand, then resume the run") from error


def _judge(
    account: Account, code: int | None, guard: Guard, stages: str, lasted: str, last_words: str
) -> None:
    if guard.reason:
        kind = Cancelled if guard.reason == "cancelled" else TimedOut
        raise kind(f"{stages}: {guard.reason} after {lasted}; everything it had started was ended")
    failure = account.failure
    if code == 0 and account.finished:
        return
    if failure is None:
        raise StepFailed(f"{stages} ended without a result (exit code {code}): {last_words}")
    text = f"host {failure.host}: {failure.task}: {failure.message}"
    if failure.outcome is Outcome.UNREACHABLE:
        raise Unavailable(text)
    raise StepFailed(text)


@contextmanager
def _told(on_event: Callable[[TaskEvent], None]) -> Iterator[Callable[[TaskEvent], None]]:
    """Let a thread tell the events: a slow listener would slow the runner, which then loses some."""
    waiting: queue.SimpleQueue[TaskEvent | None] = queue.SimpleQueue()

    def tell() -> None:
        while (event := waiting.get()) is not None:
            try:
                on_event(event)
            except Exception:
                # Whoever watches must not be able to fail the work.
                log.exception(
                    "a listener failed on an event of a playbook", extra={"action": "ansible-event"}
                )

    teller = threading.Thread(target=tell, name="ansible-events", daemon=True)
    teller.start()
    try:
        yield waiting.put
    finally:
        waiting.put(None)
        # A listener that is still behind goes on by itself: a site may be waiting for this to return.
        teller.join(LISTENER_SECONDS)


def _redactor(variables: Mapping[str, object]) -> Callable[[str], str]:
    values = []
    for path in secret_files(variables):
        try:
            values.append(path.read_text(encoding="utf-8").rstrip("\n"))
        except OSError as error:
            raise Unavailable(f"secret file {path} cannot be read: {error.strerror}") from error

    def redact(text: str) -> str:
        for value in values:
            if value:
                text = text.replace(value, "***")
        return text

    return redact


def _keep_evidence(artifacts: Path, evidence: Path, stages: str, redact: Callable[[str], str]) -> str:
    stdout = artifacts / "stdout"
    if not stdout.exists():
        return "it wrote nothing"
    evidence.mkdir(parents=True, exist_ok=True, mode=0o700)
    count = sum(1 for _ in evidence.glob("ansible-*.log")) + 1
    text = redact(stdout.read_text(encoding="utf-8", errors="replace"))[-EVIDENCE_LIMIT:]
    kept = evidence / f"ansible-{count:03}-{stages.replace(' ', '-')[:80]}.log"
    kept.touch(mode=0o600)
    kept.write_text(text, encoding="utf-8")
    return " / ".join(text.strip().splitlines()[-3:])
