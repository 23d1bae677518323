"""A server's files as a snapshot, cut off in the middle: what a successor finds, it finishes or drops."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from infra.ansible import end_leftovers
from policy.errors import StepFailed
from policy.journal import Entry, EntryState
from tasks.snapshots import Kept, kept
from tests.integration.dedicated_servers import FAILED, TAKEN, Dedicated

pytestmark = pytest.mark.timeout(120)


def died(act: Callable[[], object]) -> None:
    """Let `act` be killed in a process of its own."""
    child = multiprocessing.get_context("fork").Process(target=act)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def killed_at(dedicated: Dedicated, words: str, act: Callable[[Kept], object], *, nth: int = 1) -> None:
    """A worker of epoch 1 dies when it is told for the `nth` time that a task called `words` begins."""
    seen = []

    def listen(text: str) -> None:
        seen.append(text)
        if sum(words in line for line in seen) == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def die() -> None:
        (keep,) = kept(replace(dedicated.work(snapshot="physical"), meanwhile=listen))
        act(keep)

    died(die)
    end_leftovers("r7a1", 2, dedicated.work().scratch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "nth"),
    [
        ("take: Let the server be as wanted", 1),
        ("take: Bring the files into the wanted state", 1),
        ("take: Bring the files into the wanted state", 2),
        ("take: Let the server be as wanted", 2),
    ],
)
def test_a_worker_killed_while_it_takes_leaves_nothing_that_its_successor_cannot_finish(
    dedicated: Dedicated, words: str, nth: int
) -> None:
    before = dedicated.state()
    killed_at(dedicated, words, Kept.take, nth=nth)
    keep = dedicated.kept(epoch=2)
    if keep.is_taken():
        assert dedicated.cluster.running(), "what is done needs no more doing"
    chosen, _ = keep.take()
    chosen.parts[0].prove()
    assert dedicated.beside() == [TAKEN]
    assert dedicated.state() == before
    dedicated.migrate()
    keep.restore()
    assert dedicated.state() == before


@pytest.mark.slow
def test_a_half_made_copy_is_dropped_and_the_server_runs(dedicated: Dedicated) -> None:
    before, keep = dedicated.state(), dedicated.kept()
    dedicated.cluster.stop()
    (dedicated.folder / f"{TAKEN}.making-0badcafe" / "base").mkdir(parents=True)
    (dedicated.folder / f"{TAKEN}.stopped").touch()
    assert not keep.is_taken(), "half a snapshot is none"
    keep.drop()
    assert dedicated.beside() == []
    assert dedicated.state() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "nth"),
    [
        ("put_back: Let the server be as wanted", 1),
        ("put_back: Bring the files into the wanted state", 3),
        ("put_back: Let the server be as wanted", 2),
    ],
)
def test_a_worker_killed_while_it_puts_back_is_followed_by_one_that_finishes(
    dedicated: Dedicated, words: str, nth: int
) -> None:
    before = dedicated.state()
    dedicated.kept().take()
    dedicated.migrate()
    killed_at(dedicated, words, Kept.restore, nth=nth)
    dedicated.kept(epoch=2).restore()
    assert dedicated.state() == before
    assert dedicated.beside() == [FAILED]


@pytest.mark.slow
def test_a_server_that_this_run_did_not_stop_is_not_started(dedicated: Dedicated) -> None:
    keep = dedicated.kept()
    dedicated.cluster.stop()
    keep.whole[0].drop()
    keep.whole[0].bring_up()
    assert not dedicated.cluster.running(), "somebody else stopped it, or another one serves by now"


@pytest.mark.slow
@pytest.mark.parametrize("renamed", ["nothing", "the directory"])
def test_a_put_back_that_was_cut_off_is_finished(dedicated: Dedicated, renamed: str) -> None:
    before, keep = dedicated.state(), dedicated.kept()
    keep.take()
    keep.work.journal["take_snapshot"] = Entry(  # type: ignore[attr-defined]
        step="take_snapshot",
        state=EntryState.DONE,
        facts={"snapshots": {"lakeside": {"kind": "physical"}}},
    )
    dedicated.migrate()
    dedicated.cluster.stop()
    if renamed == "the directory":
        dedicated.cluster.data.rename(dedicated.folder / FAILED)
        with pytest.raises(StepFailed, match="may be all that is left; nothing was removed"):
            keep.drop()
    assert keep.gone() == ""
    keep.restore()
    assert dedicated.state() == before
    assert dedicated.beside() == [FAILED]
