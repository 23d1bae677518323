"""The pool: the longest path first, the first failure ends all, and nobody is left behind."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast
from unittest.mock import MagicMock

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.postgres.archive import Entry
from infra.postgres.foreign_keys import ForeignKey, ForeignKeys
from infra.postgres.methods import Throttle
from infra.postgres.pool import Piece, Pool
from infra.postgres.progress import Meter, unwatched
from infra.postgres.selection import TableName
from infra.postgres.throttle import QUIET_LOOKS, Governor
from policy.errors import Refused

Done = list[tuple[str, int]]


def meter(weight: int = 100) -> Meter:
    return Meter(bytes_total=weight, weight=weight)


def pool(threads: int, *, let_go: Callable[[Done], None] = lambda _: None) -> tuple[Pool[Done], Done]:
    done: Done = []
    return Pool(threads=threads, hands=lambda: done, let_go=let_go, stop=threading.Event()), done


def piece(name: str, path: int, *after: Piece[Done]) -> Piece[Done]:
    def act(done: Done) -> Iterable[Piece[Done]]:
        done.append((name, path))
        return after

    return Piece(path=path, act=act)


@given(st.lists(st.integers(0, 50), max_size=20))
def test_the_longest_path_goes_first(paths: list[int]) -> None:
    made, done = pool(1)
    made.run([piece("p", path) for path in paths], meter=meter(), watch=unwatched)
    assert [path for _, path in done] == sorted(paths, reverse=True)


def test_what_follows_takes_its_place_among_the_rest() -> None:
    made, done = pool(1)
    first = piece("table", 9, piece("index", 4))
    made.run([first, piece("small", 3), piece("middle", 5)], meter=meter(), watch=unwatched)
    assert [name for name, _ in done] == ["table", "middle", "index", "small"]


@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_failure_ends_all_and_is_raised(threads: int) -> None:
    closed: list[Done] = []
    made, done = pool(threads, let_go=closed.append)

    def fail(_: Done) -> Iterable[Piece[Done]]:
        raise Refused("no")

    pieces = [Piece(path=100, act=fail), *(piece("later", path) for path in range(50))]
    with pytest.raises(Refused, match="no"):
        made.run(pieces, meter=meter(), watch=unwatched)
    assert len(done) < 50
    assert len(closed) >= 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("copy-")]


def test_hands_that_cannot_be_made_are_a_failure() -> None:
    def broken() -> Done:
        raise Refused("no session")

    made: Pool[Done] = Pool(threads=2, hands=broken, let_go=lambda _: None, stop=threading.Event())
    with pytest.raises(Refused, match="no session"):
        made.run([piece("p", 1)], meter=meter(), watch=unwatched)


def test_the_watcher_is_called_by_the_caller_and_may_end_it() -> None:
    callers: list[int] = []
    made, _ = pool(2)
    ended = threading.Event()

    def slow(_: Done) -> Iterable[Piece[Done]]:
        ended.wait(5)
        return ()

    def look(_: object) -> None:
        callers.append(threading.get_ident())
        ended.set()
        raise Refused("enough")

    with pytest.raises(Refused, match="enough"):
        made.run([Piece(path=1, act=slow)], meter=meter(), watch=look)
    assert set(callers) == {threading.get_ident()}


def test_nothing_to_do_is_done() -> None:
    made, done = pool(3)
    made.run([], meter=meter(), watch=unwatched)
    assert done == []


@given(
    st.lists(st.tuples(st.sampled_from(["passed", "arrived", "finished"]), st.integers(0, 1000)), max_size=30)
)
def test_progress_never_falls_and_never_claims_to_be_done(steps: list[tuple[str, int]]) -> None:
    counted = meter(1000)
    shares = [counted.look().share]
    for kind, amount in steps:
        if kind == "passed":
            counted.passed(amount)
        elif kind == "arrived":
            counted.arrived(rows=1, carried=amount, weight=amount)
        else:
            counted.finished(amount)
        shares.append(counted.look().share)
    assert shares == sorted(shares)
    assert shares[-1] < 1


def test_a_rate_is_kept_over_all_streams() -> None:
    governor = Governor(Throttle(bytes_per_s=1_000_000), stop=threading.Event())
    began = time.monotonic()

    def carry() -> None:
        for _ in range(3):
            governor.pace(50_000)

    streams = [threading.Thread(target=carry) for _ in range(2)]
    for stream in streams:
        stream.start()
    for stream in streams:
        stream.join()
    assert time.monotonic() - began >= 0.25


class _Source:
    """Answers a governor's looks with what was told."""

    def __init__(self, *told: tuple[int, bool, int]) -> None:
        self._told = list(told)

    def execute(self, query: str) -> Any:  # noqa: ANN401 - stands for a cursor
        return MagicMock(fetchone=lambda: self._told.pop(0)) if "active" in query else None


def test_a_source_is_busy_by_its_transactions_too_and_stays_so_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = itertools.count(step=0.5)
    monkeypatch.setattr("infra.postgres.throttle.time.monotonic", lambda: next(clock))
    short = [(0, False, number) for number in (0, 400, 800)]
    quiet = [(0, False, 800)] * (QUIET_LOOKS + 1)
    source = _Source(*short, *quiet, (2, False, 800))
    governor = Governor(Throttle(busy_sessions=2), stop=threading.Event())
    seen = []
    for _ in range(len(short) + len(quiet) + 1):
        governor.look(cast("psycopg.Connection", source))
        seen.append(governor.busy)
    assert seen == [False, True, True, *[True] * (QUIET_LOOKS - 1), False, False, True]


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.postgres.throttle.STRETCH_SECONDS", 0.06)


def _busy(*, streams: int = 1, share: float = 0.25, stop: threading.Event | None = None) -> Governor:
    governor = Governor(Throttle(busy_share=share), streams=streams, stop=stop or threading.Event())
    governor.busy = True
    return governor


def _carried(governor: Governor, *, loads: int, seconds: float) -> float:
    """Seconds of rest after so many loads of one block that takes so long."""
    for _ in range(loads):
        governor.begin()
        time.sleep(seconds)
        began = time.monotonic()
        governor.pace(1)
    return time.monotonic() - began


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize(("streams", "rest_s"), [(1, 3 * 0.06), (2, 7 * 0.06)])
def test_a_busy_source_gets_its_share_however_many_streams_there_are(streams: int, rest_s: float) -> None:
    governor = _busy(streams=streams)
    assert _carried(governor, loads=1, seconds=0.06) >= rest_s
    governor.busy = False
    assert _carried(governor, loads=1, seconds=0.06) < 0.1


@pytest.mark.usefixtures("short_stretches")
def test_small_tables_add_up_to_a_stretch() -> None:
    assert _carried(_busy(), loads=2, seconds=0.04) >= 3 * 0.08


@pytest.mark.usefixtures("short_stretches")
def test_what_was_not_the_source_s_work_is_not_counted() -> None:
    governor = _busy()
    governor.begin()
    governor.pace(1)
    time.sleep(0.1)
    assert _carried(governor, loads=1, seconds=0) < 0.1


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize("by", ["quiet", "stop"])
def test_a_rest_ends_early_when_the_source_is_quiet_or_the_copy_ends(by: str) -> None:
    stop = threading.Event()
    governor = _busy(share=0.001, stop=stop)
    ender = threading.Timer(0.2, stop.set if by == "stop" else lambda: setattr(governor, "busy", False))
    ender.start()
    assert 0.1 < _carried(governor, loads=1, seconds=0.06) < 10


@pytest.mark.parametrize(
    "wrong", [{"busy_share": 0.0}, {"busy_share": 1.5}, {"busy_sessions": 0}, {"bytes_per_s": 0}]
)
def test_senseless_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Refused, match="throttle"):
        Throttle(**wrong)  # type: ignore[arg-type]  # wrong on purpose


NAMES = tuple(TableName("public", f"t{number}") for number in range(5))


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=12),
    st.permutations(NAMES),
    st.integers(1, 3),
)
def test_each_key_is_proven_once_alone_and_after_both_its_tables(
    ends: list[tuple[TableName, TableName]], order: list[TableName], threads: int
) -> None:
    there: list[TableName] = []
    proven: list[int] = []
    proving: list[int] = []

    def build(entries: Sequence[Entry]) -> None:
        [entry] = entries
        proving.append(entry.id)
        assert len(proving) == 1
        assert set(ends[entry.id]) <= set(there)
        proving.remove(entry.id)
        proven.append(entry.id)

    keys = ForeignKeys(
        [
            ForeignKey(entry=Entry(number, 0, "FK CONSTRAINT"), ends=frozenset(pair), weight=number)
            for number, pair in enumerate(ends)
        ],
        build,
    )

    def table(name: TableName) -> Piece[Done]:
        def act(_: Done) -> Iterable[Piece[Done]]:
            there.append(name)
            return keys.complete(name)

        return Piece(path=keys.tail(name), act=act)

    work, _ = pool(threads)
    work.run([table(name) for name in order], meter=meter(), watch=unwatched)
    assert sorted(proven) == list(range(len(ends)))
