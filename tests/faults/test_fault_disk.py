"""A disk that fills up during the copy: the target serves on, the room is given back, the words are plain."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg.sql import SQL, Identifier, Literal

from infra.stack.unprivileged import hand_over
from policy.names import RunId, incoming_name
from policy.request import Kind, Outcome
from tests.faults.conftest import Begin, Damage
from tests.faults.ground import STAGING, Ground
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery, reached
from tests.waiting import wait_until

pytestmark = pytest.mark.root

ROOM = 384 * 1024
"""Bytes that the copy finds free: enough to enter the database, but it needs about 600,000."""

Shrink = Callable[[str], str]


@pytest.fixture
def shrink(ground: Ground, tmp_path: Path) -> Iterator[Shrink]:
    """Moves a database to a disk with hardly any room, and returns the name of the tablespace."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place, name = tmp_path / "small", f"small_{ground.word}"
    place.mkdir()

    with ExitStack() as undo:

        def move(database: str) -> str:
            with ground.admin(ground.trial) as session:
                row = session.execute("SELECT pg_database_size(%s)", [database]).fetchone()
                assert row is not None
                _mount(place, int(row[0]) + ROOM)
                undo.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True)
                hand_over(place)
                session.execute(
                    SQL("CREATE TABLESPACE {} LOCATION {}").format(Identifier(name), Literal(str(place)))
                )
                undo.callback(_drop, ground, name)
                session.execute(
                    SQL("ALTER DATABASE {} SET TABLESPACE {}").format(Identifier(database), Identifier(name))
                )
            return name

        yield move


def _mount(place: Path, size: int) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(place)],  # noqa: S607 - mount of the path is meant
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine mounts no small file system: {mounted.stderr.strip()}")


def _drop(ground: Ground, name: str) -> None:
    with ground.admin(ground.trial) as session:
        session.execute(SQL("DROP TABLESPACE {}").format(Identifier(name)))


def test_a_full_disk_puts_the_refresh_back(
    ground: Ground, nursery: Nursery, begin: Begin, shrink: Shrink, tmp_path: Path
) -> None:
    trial = Trial(ground, nursery, Kind.REFRESH)
    trace, point = tmp_path / "trace", "refresh.create_incoming.after-outcome"
    worker = begin(trial.request, f"{point}=sleep:3", FRESHET_TEST_TRACE=str(trace))
    wait_until(lambda: reached(trace, point))
    small = shrink(incoming_name(ground.estate.site(STAGING).database, RunId.of(trial.request, 1)))
    assert worker.wait() == 0
    request = ground.request(trial.request)
    assert request.outcome is Outcome.PUT_BACK, request.reason
    assert request.reason.startswith("Copy with masking: copying public.people"), "it failed before the copy"
    assert "the disk of the database server is full; make room there" in request.reason
    assert trial.judge(Outcome.PUT_BACK) == []
    with ground.admin(ground.trial) as session:
        assert _size(session, small) < 100_000, "the room was not given back"


@pytest.mark.slow
def test_without_a_look_at_the_room_a_refresh_fails_in_its_middle(
    ground: Ground, nursery: Nursery, begin: Begin, shrink: Shrink, tmp_path: Path, damage: Damage
) -> None:
    made, copied = "refresh.create_incoming.after-outcome", "refresh.copy_masked.mid"
    with nearly_full(ground):
        for without, begins in (("", False), ("room", True)):
            trial = Trial(ground, nursery, Kind.REFRESH)
            trace = tmp_path / f"trace-{trial.request}"
            told = {"FRESHET_TEST_TRACE": str(trace), "FRESHET_TEST_WITHOUT": without}
            worker = begin(trial.request, f"{made}=sleep:3", **told)
            wait_until(lambda: reached(trace, made) or worker.ended.is_set())  # noqa: B023 - called at once
            if begins:
                shrink(incoming_name(ground.estate.site(STAGING).database, RunId.of(trial.request, 1)))
            worker.wait()
            assert reached(trace, copied) is begins, worker.log
            said = "the disk of the database server is full" if begins else "GB free and the copy needs"
            assert said in ground.request(trial.request).reason
            assert trial.judge(Outcome.PUT_BACK) == []
    damage(6, "the copy is begun, fills the disk and fails in its middle instead of being refused before")


@contextmanager
def nearly_full(ground: Ground) -> Iterator[None]:
    """The estate tells a disk of a gigabyte, and the target's databases hold nearly all of it."""
    servers = yaml.safe_load(ground.settings.estate.read_text(encoding="utf-8"))["database_servers"]
    servers["trial"]["disk_gb"] = 1
    with ground.session(STAGING) as session:
        row = session.execute("SELECT pg_relation_filepath('pg_class')").fetchone()
    assert row is not None
    # It counts for the server, and takes no room from this machine.
    hollow = (ground.trial.data / str(row[0])).with_name("hollow")
    with hollow.open("wb") as file:
        file.truncate(10**9)
    ground.declare(database_servers=servers)
    try:
        yield
    finally:
        ground.declare()
        hollow.unlink()


def _size(session: psycopg.Connection, tablespace: str) -> int:
    row = session.execute("SELECT pg_tablespace_size(%s)", [tablespace]).fetchone()
    assert row is not None
    return int(row[0])
