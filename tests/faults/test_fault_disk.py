"""A disk that fills up during the copy: the target serves on, the room is given back, the words are plain."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from infra.stack.unprivileged import hand_over
from policy.names import RunId, incoming_name
from policy.request import Kind, Outcome
from tests.faults.conftest import Begin
from tests.faults.ground import STAGING, Ground
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery, reached
from tests.waiting import wait_until

pytestmark = pytest.mark.root

ROOM = 128 * 1024
"""Bytes that the copy finds free; it needs about 600,000."""

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
    assert "disk" in request.reason or "space" in request.reason, request.reason
    assert trial.judge(Outcome.PUT_BACK) == []
    with ground.admin(ground.trial) as session:
        assert _size(session, small) < 100_000, "the room was not given back"


def _size(session: psycopg.Connection, tablespace: str) -> int:
    row = session.execute("SELECT pg_tablespace_size(%s)", [tablespace]).fetchone()
    assert row is not None
    return int(row[0])
