"""Following a change equals planning anew, and moves nobody whom it does not concern."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.names import RunId
from policy.plan import Why
from policy.waiting import Queue, Running, Waiting
from tests.properties.planned import counted, each, plan, planner
from tests.properties.queues import GRID, NOW, queues, wants


@pytest.mark.parametrize("examples", each(80, 2000))
def test_following_changes_equals_planning_anew(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(data=st.data(), counting=counted)
    def run(data: st.DataObject, *, counting: bool) -> None:
        queue = data.draw(queues(most=8, pauses=False))
        kept = planner(queue, counting=counting)
        for step in range(data.draw(st.integers(1, 5))):
            before = {w.id: kept.start(w.id) for w in queue.waiting}
            queue = changed(data, queue, step)
            moved = kept.update(queue)
            assert kept.plan() == plan(queue)
            for waiting in queue.waiting:
                is_moved = waiting.id not in before or before[waiting.id] != kept.start(waiting.id)
                assert is_moved == (waiting.id in moved)

    run()


def changed(data: st.DataObject, queue: Queue, step: int) -> Queue:
    kind = data.draw(
        st.sampled_from(["add", "remove", "change", "confirm", "time", "end", "begin", "overrun"])
    )
    waiting, running = list(queue.waiting), list(queue.running)
    if kind == "add" or not waiting:
        return replace(queue, waiting=(*waiting, data.draw(wants(100 + step))))
    index = data.draw(st.integers(0, len(waiting) - 1))
    if kind == "remove":
        del waiting[index]
    elif kind == "change":
        waiting[index] = data.draw(wants(waiting[index].id.number))
    elif kind == "confirm":
        made = plan(queue)
        waiting = [
            replace(w, confirmed=found.start) if (found := made.placement(w.id)) else w for w in waiting
        ]
    elif kind == "time":
        return replace(queue, now=queue.now + data.draw(st.integers(1, 150)) * GRID)
    elif kind == "end" and running:
        del running[0]
    elif kind == "overrun" and running:
        running[0] = replace(running[0], until=running[0].until + 3 * GRID)
    elif kind == "begin":
        chosen = waiting.pop(index)
        running.append(
            Running(
                run=RunId.of(chosen.id, 1 + step),
                uses=chosen.uses,
                until=queue.now + chosen.expected,
                put_back=chosen.put_back,
            )
        )
    return replace(queue, waiting=tuple(waiting), running=tuple(running))


@settings(max_examples=80, deadline=None)
@given(queue=queues(pauses=False), newcomer=wants(500, holds=False))
def test_the_last_in_the_queue_moves_nobody(queue: Queue, newcomer: Waiting) -> None:
    before = plan(queue)
    last = replace(newcomer, asked_at=NOW, confirmed=None)
    after = plan(replace(queue, waiting=(*queue.waiting, last)))
    for waiting in queue.waiting:
        assert before.answers[waiting.id] == after.answers[waiting.id]


@settings(max_examples=80, deadline=None)
@given(queue=queues(pauses=False))
def test_dates_that_were_announced_stay_when_somebody_leaves(queue: Queue) -> None:
    made = plan(queue)
    announced = tuple(
        replace(w, confirmed=found.start) if (found := made.placement(w.id)) else w for w in queue.waiting
    )
    kept = plan(replace(queue, waiting=announced))
    for waiting in announced:
        found = made.placement(waiting.id)
        if found is not None:
            now = kept.placement(waiting.id)
            assert now is not None
            assert now.start == found.start
            assert now.reason.why is Why.CONFIRMED
            assert now.kept
    for gone in announced:
        rest = tuple(w for w in announced if w.id != gone.id)
        without = plan(replace(queue, waiting=rest))
        for waiting in rest:
            found = made.placement(waiting.id)
            if found is not None:
                again = without.placement(waiting.id)
                assert again is not None
                assert again.start == found.start


@settings(max_examples=60, deadline=None)
@given(queue=queues())
def test_the_order_in_which_requests_are_listed_does_not_matter(queue: Queue) -> None:
    backwards = replace(queue, waiting=tuple(reversed(queue.waiting)), running=tuple(reversed(queue.running)))
    assert plan(queue).answers == plan(backwards).answers
