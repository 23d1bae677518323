"""Whatever interrupts a run, following the journal ends it whole: old, new, or stuck on record."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from policy.journal import Direction, Do, Entry, EntryState, Finish, Undo, next_move

STEPS = ("check", "create", "copy", "swap", "open")


@dataclass
class World:
    """What steps do to the world, and what a ledger keeps of it."""

    made: set[str] = field(default_factory=set)
    states: dict[str, EntryState] = field(default_factory=dict)
    direction: Direction = Direction.FORWARD
    acts: list[str] = field(default_factory=list)

    @property
    def journal(self) -> tuple[Entry, ...]:
        return tuple(Entry(step=name, state=state) for name, state in self.states.items())

    def move(self) -> Do | Undo | Finish:
        return next_move(STEPS, self.journal, self.direction)


def carry(world: World, *, crash_at: str | None = None, fail: str | None = None, bad: frozenset[str]) -> None:
    """One move, or a part of it: `crash_at` is where the worker dies."""
    move = world.move()
    if isinstance(move, Do):
        world.states[move.step] = EntryState.INTENDED
        if crash_at == "after-intent":
            return
        if fail == move.step:
            world.direction = Direction.BACK
            return
        if not (move.look_first and move.step in world.made):
            world.acts.append(f"do {move.step}")
            world.made.add(move.step)
        if crash_at == "after-act":
            return
        world.states[move.step] = EntryState.DONE
    elif isinstance(move, Undo):
        world.states[move.step] = EntryState.UNDOING
        if crash_at == "after-intent":
            return
        if move.step in bad:
            world.states[move.step] = EntryState.UNDO_FAILED
            return
        world.made.discard(move.step)
        world.acts.append(f"undo {move.step}")
        if crash_at == "after-act":
            return
        world.states[move.step] = EntryState.UNDONE


crashes = st.lists(st.sampled_from([None, "after-intent", "after-act"]), max_size=30)


@given(crashes=crashes, fail=st.sampled_from([None, *STEPS]), bad=st.frozensets(st.sampled_from(STEPS)))
def test_every_interruption_ends_old_new_or_stuck(
    crashes: list[str | None], fail: str | None, bad: frozenset[str]
) -> None:
    world = World()
    plan = iter(crashes)
    for _ in range(100):
        if isinstance(world.move(), Finish):
            break
        carry(world, crash_at=next(plan, None), fail=fail, bad=bad)
    finish = world.move()
    assert isinstance(finish, Finish)
    if fail is None:
        assert finish is Finish.DONE
        assert world.made == set(STEPS)
    elif bad & set(STEPS[: STEPS.index(fail) + 1]):
        assert finish is Finish.STUCK
        failed = {name for name, state in world.states.items() if state is EntryState.UNDO_FAILED}
        assert world.made <= failed
    else:
        assert finish is Finish.PUT_BACK
        assert world.made == set()


@pytest.mark.parametrize("length", range(len(STEPS) + 1))
def test_every_prefix_goes_on_where_it_stopped(length: int) -> None:
    world = World(states=dict.fromkeys(STEPS[:length], EntryState.DONE), made=set(STEPS[:length]))
    moves = []
    while not isinstance(world.move(), Finish):
        moves.append(world.move())
        carry(world, bad=frozenset())
    assert moves == [Do(step, look_first=False) for step in STEPS[length:]]


def test_undoing_goes_in_reverse_and_past_a_failure() -> None:
    world = World(states=dict.fromkeys(STEPS, EntryState.DONE), made=set(STEPS), direction=Direction.BACK)
    while not isinstance(world.move(), Finish):
        carry(world, bad=frozenset({"swap"}))
    assert world.acts == ["undo open", "undo copy", "undo create", "undo check"]
    assert world.move() is Finish.STUCK


class Workers(RuleBasedStateMachine):
    """Workers that come, die at any point, fail, and are followed by others."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @precondition(lambda self: not isinstance(self.world.move(), Finish))
    @rule(crash=st.sampled_from([None, None, "after-intent", "after-act"]))
    def works(self, crash: str | None) -> None:
        carry(self.world, crash_at=crash, bad=frozenset({"copy"}))

    @rule()
    def is_cancelled(self) -> None:
        self.world.direction = Direction.BACK

    @invariant()
    def done_steps_exist(self) -> None:
        for name, state in self.world.states.items():
            if state is EntryState.DONE:
                assert name in self.world.made
            if state is EntryState.UNDONE:
                assert name not in self.world.made

    @invariant()
    def nothing_is_made_that_the_journal_does_not_know(self) -> None:
        assert self.world.made <= set(self.world.states)

    @invariant()
    def later_steps_go_before_earlier_ones(self) -> None:
        """An earlier step is never taken back while a later one stands, unless that one could not be."""
        undone = [n for n, name in enumerate(STEPS) if self.world.states.get(name) is EntryState.UNDONE]
        standing = [
            n
            for n, name in enumerate(STEPS)
            if self.world.states.get(name) in {EntryState.DONE, EntryState.INTENDED}
        ]
        if undone and standing:
            assert min(undone) > max(standing)


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=200, stateful_step_count=30)
