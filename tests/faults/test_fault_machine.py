"""The planner of steps under crashes, expiry, duplicates, freezing and cancels, without a world to break.

The ledger, the lease and the sessions are the model's; `policy.journal.next_move` is the real one. Each
defence of the model can be taken out, and then a way to the damage has to be found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from policy.journal import Direction, Do, Entry, EntryState, Finish, Undo, next_move

STEPS = ("create", "copy", "swap", "open")


class At(StrEnum):
    """How far a worker is in its move."""

    READS = "reads"
    OPENS = "opens"
    ACTS = "acts"
    WRITES = "writes"


@dataclass
class Working:
    """One worker; it may stand still anywhere for any time, which is what being frozen is."""

    epoch: int
    at: At = At.READS
    move: Do | Undo | None = None
    session: bool = False
    failed: bool = False


@dataclass
class Ledger:
    """What is written down, and what stands in the world."""

    epoch: int = 0
    fresh: bool = False
    states: dict[str, EntryState] = field(default_factory=dict)
    direction: Direction = Direction.FORWARD
    made: set[str] = field(default_factory=set)
    ends: list[Finish] = field(default_factory=list)

    def next(self) -> Do | Undo | Finish:
        journal = [Entry(step=name, state=state) for name, state in self.states.items()]
        return next_move(STEPS, journal, self.direction)


class Workers(RuleBasedStateMachine):
    """Any number of workers on one run."""

    lease, epochs, sessions = True, True, True

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.workers: list[Working] = []

    @rule()
    def one_comes(self) -> None:
        """By dispatch, by the sweep, or because a message came twice."""
        if self.ledger.ends or (self.lease and self.ledger.fresh):
            return
        self.ledger.epoch += 1
        self.ledger.fresh = True
        if self.sessions:
            for older in self.workers:
                older.session = False
        self.workers.append(Working(epoch=self.ledger.epoch))

    @rule()
    def the_lease_runs_out(self) -> None:
        self.ledger.fresh = False

    @rule()
    def somebody_cancels(self) -> None:
        if not self.ledger.ends:
            self.ledger.direction = Direction.BACK

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def one_dies(self, data: st.DataObject) -> None:
        self.workers.remove(data.draw(st.sampled_from(self.workers)))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), fails=st.sampled_from([False, False, False, True]))
    def one_works(self, data: st.DataObject, *, fails: bool) -> None:
        self.step(data.draw(st.sampled_from(self.workers)), fails=fails)

    def step(self, worker: Working, *, fails: bool = False) -> None:
        """From one proof, act or line in the ledger to the next."""
        if worker.at is At.ACTS:
            self.act(worker, fails=fails)
        elif not self.proves(worker):
            self.workers.remove(worker)
        elif worker.at is At.READS:
            self.read(worker)
        elif worker.at is At.OPENS:
            # It was opened before it was proven; whoever comes now ends it.
            worker.session, worker.at = True, At.ACTS
        else:
            self.write(worker)

    def proves(self, worker: Working) -> bool:
        if self.epochs and worker.epoch != self.ledger.epoch:
            return False
        self.ledger.fresh = True
        return True

    def read(self, worker: Working) -> None:
        move = self.ledger.next()
        if isinstance(move, Finish):
            self.ledger.ends.append(move)
            self.workers.remove(worker)
            self.judge()
            return
        worker.move, worker.at, worker.failed = move, At.OPENS, False
        self.ledger.states[move.step] = EntryState.INTENDED if isinstance(move, Do) else EntryState.UNDOING

    def act(self, worker: Working, *, fails: bool) -> None:
        worker.at = At.WRITES
        if self.sessions and not worker.session:
            # Its session was ended: it fails, and learns in the ledger why.
            worker.failed = True
            return
        move = worker.move
        assert move is not None
        assert worker.epoch == self.ledger.epoch, "a worker mutates after it was taken over"
        assert not self.ledger.ends, "a worker mutates after the run has ended"
        if fails:
            worker.failed = True
        elif isinstance(move, Undo):
            self.ledger.made.discard(move.step)
        elif not (move.look_first and move.step in self.ledger.made):
            assert move.step not in self.ledger.made, f"{move.step} is made twice"
            self.ledger.made.add(move.step)

    def write(self, worker: Working) -> None:
        move = worker.move
        assert move is not None
        worker.at = At.READS
        if isinstance(move, Undo):
            self.ledger.states[move.step] = EntryState.UNDO_FAILED if worker.failed else EntryState.UNDONE
        elif worker.failed:
            self.ledger.direction = Direction.BACK
        else:
            self.ledger.states[move.step] = EntryState.DONE

    def judge(self) -> None:
        """What an end means."""
        assert len(self.ledger.ends) == 1, "the run ended twice"
        failed = {name for name, state in self.ledger.states.items() if state is EntryState.UNDO_FAILED}
        match self.ledger.ends[0]:
            case Finish.DONE:
                assert self.ledger.made == set(STEPS)
            case Finish.PUT_BACK:
                assert self.ledger.made == set()
            case Finish.STUCK:
                assert failed
                assert self.ledger.made <= failed

    def teardown(self) -> None:
        """Whatever happened, the next worker brings it to its end."""
        if self.ledger.ends:
            return
        self.ledger.fresh = False
        self.one_comes()
        last = self.workers[-1]
        for _ in range(200):
            if self.ledger.ends:
                return
            self.step(last)
        raise AssertionError("it never ends")


class WithoutLease(Workers):
    """Whoever comes is let in, and asks nobody any more."""

    lease, epochs, sessions = False, False, False


class WithoutEpochs(Workers):
    """A worker that wakes up does not ask whether it still has the run."""

    epochs, sessions = False, False


class WithoutSessions(Workers):
    """The proof comes before the session, so nobody can end what is on its way."""

    sessions = False


MANY = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_whatever_comes_the_run_ends_once_and_whole() -> None:
    run_state_machine_as_test(Workers, settings=MANY)


@pytest.mark.slow
def test_the_same_three_thousand_times() -> None:
    run_state_machine_as_test(Workers, settings=settings(MANY, max_examples=3_000))


@pytest.mark.parametrize("undefended", [WithoutLease, WithoutEpochs, WithoutSessions])
def test_without_a_defence_a_way_to_the_damage_is_found(undefended: type[Workers]) -> None:
    quick = settings(MANY, max_examples=2_000, phases=[Phase.generate], print_blob=False)
    with pytest.raises(AssertionError, match=r"mutates after|made twice|ended twice"):
        run_state_machine_as_test(undefended, settings=quick)
