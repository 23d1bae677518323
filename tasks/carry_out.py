"""Carry out a run: step after step, each with its intent before and its outcome after, forward or back.

Invariant: what comes next is read from the journal, so it does not matter which worker asks, or what killed
the last one. Nothing is mutated without a proof of the newest epoch in the ledger.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import psycopg

from infra.failpoints import Moment, failpoint
from infra.ledger import runs
from infra.ledger.connection import Connection
from infra.redaction import redact, redacted
from policy.errors import Busy, FreshetError, NeedsHuman, Unavailable
from policy.journal import Do, Entry, EntryState, Finish, Undo, next_move
from tasks.display import Display
from tasks.hold import Hold
from tasks.step import Step

log = logging.getLogger("freshet.run")

PAUSES = (1.0, 4.0)
"""Seconds between the tries of a step when something outside does not answer."""

PAUSES_BACK = (1.0, 4.0, 10.0, 20.0, 30.0)
"""Seconds between the tries of an undo: what comes after the last is a site that is locked."""

Result = TypeVar("Result")


def carry_out(hold: Hold, steps: Sequence[Step], display: Display) -> Finish:
    """Follow the journal of the run that `hold` holds to its end.

    Returns:
        How the run ended; `tasks.conclude` tells it.

    Raises:
        Busy: another worker took the run over; this one has touched nothing since.
        Unavailable: the ledger is away; the run is left to whoever takes it over.
    """
    names = [step.name for step in steps]
    while True:
        with hold.proven() as connection:
            journal = runs.journal(connection, hold.run)
            run = runs.live(connection, hold.request.id)
        if run is None or run.id != hold.run:
            raise Busy(f"run {hold.run} has ended elsewhere; this worker touches nothing more")
        hold.remember(journal)
        move = next_move(names, journal, run.direction)
        if isinstance(move, Do):
            position = names.index(move.step)
            _forward(hold, steps[position], position, display, look_first=move.look_first)
        elif isinstance(move, Undo):
            _back(hold, steps[names.index(move.step)], journal, display)
        else:
            return move


def _forward(hold: Hold, step: Step, position: int, display: Display, *, look_first: bool) -> None:
    point = f"{hold.request.kind.value}.{step.name}"
    try:
        failpoint(f"{point}.{Moment.BEFORE_INTENT}")
        hold.record(lambda connection: runs.intend(connection, hold.run, step.name, position, hold.epoch))
        failpoint(f"{point}.{Moment.AFTER_INTENT}")
        hold.at(point)
        began = time.monotonic()
        facts = display.carry(step.title, lambda: _act(hold, step, look_first=look_first))
        took = time.monotonic() - began
        failpoint(f"{point}.{Moment.AFTER_ACT}")
        hold.record(
            lambda connection: runs.outcome(
                connection,
                hold.run,
                step.name,
                state=EntryState.DONE,
                epoch=hold.epoch,
                facts=clean_facts(facts),
                seconds=took,
            )
        )
        failpoint(f"{point}.{Moment.AFTER_OUTCOME}")
        display.say(f"{step.title}: done in {took:.1f} s")
    except Busy:
        raise
    except BaseException as error:  # noqa: BLE001 - a cancel is put back like a failure; if we are killed
        # meanwhile, the next worker reads the direction in the ledger and goes on.
        _turn_back(hold, step, error, display)


def _act(hold: Hold, step: Step, *, look_first: bool) -> Mapping[str, object]:
    looks = iter([look_first])

    def attempt() -> Mapping[str, object]:
        hold.prove()
        if next(looks, True) and step.done(hold):
            return {"found_done": True}
        return step.do(hold)

    return _patiently(hold, step.title, attempt, PAUSES)


def _back(hold: Hold, step: Step, journal: Sequence[Entry], display: Display) -> None:
    point = f"{hold.request.kind.value}.{step.name}.undo"
    failpoint(f"{point}.{Moment.BEFORE_INTENT}")
    hold.record(
        lambda connection: runs.outcome(
            connection, hold.run, step.name, state=EntryState.UNDOING, epoch=hold.epoch
        )
    )
    failpoint(f"{point}.{Moment.AFTER_INTENT}")
    hold.at(point)
    began = time.monotonic()
    state, said = EntryState.UNDONE, None
    stuck = [entry.step for entry in journal if entry.state is EntryState.UNDO_FAILED]

    def attempt() -> None:
        hold.prove()
        if step.drops and stuck:
            raise NeedsHuman(f"kept, because {', '.join(stuck)} could not be put back")
        step.undo(hold)

    try:
        display.carry(f"Put back: {step.title}", lambda: _patiently(hold, step.title, attempt, PAUSES_BACK))
    except Busy:
        raise
    except Exception as error:
        state, said = EntryState.UNDO_FAILED, plain_words(error)
        if not isinstance(error, FreshetError):
            log.exception("undo of %s failed", step.name, extra={"action": "undo_failed", "run": hold.run})
        display.say(f"{step.title}: could not be put back: {said}")
    took = time.monotonic() - began
    failpoint(f"{point}.{Moment.AFTER_ACT}")
    hold.record(
        lambda connection: runs.outcome(
            connection, hold.run, step.name, state=state, epoch=hold.epoch, error=said, undo_seconds=took
        )
    )
    failpoint(f"{point}.{Moment.AFTER_OUTCOME}")


def _patiently(hold: Hold, title: str, attempt: Callable[[], Result], pauses: Sequence[float]) -> Result:
    for pause in pauses:
        try:
            return _told(attempt)
        except Unavailable as error:
            hold.say(f"{title}: {error}; trying again in {pause:.0f} s")
            time.sleep(pause)
    return _told(attempt)


def _told(attempt: Callable[[], Result]) -> Result:
    """Call `attempt`; a database server that went away in the middle of it is worth another try."""
    try:
        return attempt()
    except psycopg.OperationalError as error:
        if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
            raise Unavailable("a database server went away in the middle of it") from error
        raise


def _turn_back(hold: Hold, step: Step, error: BaseException, display: Display) -> None:
    said = plain_words(error)
    cause = f"{step.title}: {said}"
    if not isinstance(error, FreshetError):
        log.error("%s failed", step.title, exc_info=error, extra={"action": "turn_back", "run": hold.run})
    display.say(f"{cause}; putting back what was done")

    def write(connection: Connection) -> None:
        runs.outcome(connection, hold.run, step.name, state=EntryState.INTENDED, epoch=hold.epoch, error=said)
        runs.turn_back(connection, hold.run, cause)

    hold.record(write)


def clean_facts(facts: Mapping[str, object]) -> Mapping[str, object]:
    """What a step learned, without any secret that a server or a playbook may have said."""
    return {name: redacted(value) for name, value in facts.items()}


def plain_words(error: BaseException) -> str:
    """What an error says to a person: ours as it is; others by their kind, details are in the log.

    It goes into the journal, the report, mails and Prefect's pages, so no secret may be in it.
    """
    if isinstance(error, FreshetError):
        return redact(str(error))
    if isinstance(error, psycopg.errors.DiskFull):
        return "the disk of the database server is full; make room there, then ask again"
    if isinstance(error, Exception):
        return f"an unexpected {type(error).__name__}; the log of the run has the details"
    return "the run was cancelled"
