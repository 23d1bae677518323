"""Failures of a copy: they say where and not what, and leave no session, program or file behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from infra.postgres import catalog
from infra.postgres.methods import CopyJob, Throttle
from infra.postgres.progress import Progress, unwatched
from infra.postgres.selection import Selection
from infra.postgres.session import application_name
from infra.postgres.stream import Stream
from policy.errors import StepFailed, Unavailable
from tests.integration.copied_shop import MASKED, PERSON, assert_no_sessions, words
from tests.integration.copies import Copies, admin


def test_a_mask_that_breaks_says_where_and_not_what(copies: Copies, job: CopyJob) -> None:
    """The server's message quotes the raw value; ours must not."""
    for column, mask in (
        ("born", "email::date"),
        ("email", "email || repeat('y', 100)"),
        ("email", "'one for all'"),
    ):
        broken = Selection(columns={**MASKED[PERSON].columns, column: words(mask)})
        spoiled = replace(job, incoming=copies.incoming(), selections={**job.selections, PERSON: broken})
        with pytest.raises(StepFailed) as failed:
            Stream().copy(spoiled, unwatched)
        assert "person" in str(failed.value)
        assert "canary" not in str(failed.value)
        assert "one for all" not in str(failed.value)
        assert "yyy" not in str(failed.value)
        assert_no_sessions(copies, spoiled)
    assert not list(copies.scratch.iterdir())


def test_what_the_watcher_raises_ends_the_copy(copies: Copies, job: CopyJob) -> None:
    class Lost(Exception):
        """The run was taken over by another worker."""

    def look(progress: Progress) -> None:
        if progress.bytes_done:
            raise Lost

    slow = replace(job, throttle=Throttle(bytes_per_s=2_000_000))
    began = time.monotonic()
    with pytest.raises(Lost):
        Stream().copy(slow, look)
    assert time.monotonic() - began < 5
    assert_no_sessions(copies, job)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("copy-")]


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_lost_session_is_unavailable(copies: Copies, job: CopyJob, side: str) -> None:
    cluster = copies.live if side == "source" else copies.trial

    def look(progress: Progress) -> None:
        if progress.bytes_done:
            with admin(cluster) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
                    " AND query LIKE 'COPY%%'",
                    [application_name(job.run)],
                )

    with pytest.raises(Unavailable, match="copying public"):
        Stream().copy(replace(job, throttle=Throttle(bytes_per_s=2_000_000)), look)
    assert_no_sessions(copies, job)


_WORKER = """
import pickle, sys
from dataclasses import replace
from infra.postgres.methods import Throttle
from infra.postgres.stream import Stream
job = replace(pickle.load(open(sys.argv[1], "rb")), throttle=Throttle(bytes_per_s=1_000_000))
Stream().copy(job, lambda progress: print(progress.bytes_done, flush=True))
"""


def test_a_killed_worker_leaves_no_session_and_no_program(
    copies: Copies, job: CopyJob, tmp_path: Path
) -> None:
    import pickle  # noqa: PLC0415 - only here, to hand the job to another process

    path = tmp_path / "job"
    path.write_bytes(pickle.dumps(job))
    worker = subprocess.Popen([sys.executable, "-c", _WORKER, str(path)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    with worker.stdout:
        for line in worker.stdout:
            if int(line) > 0:
                break
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert_no_sessions(copies, job)
    for left in copies.scratch.iterdir():
        left.unlink()


def test_a_wrong_password_is_unavailable_and_not_shown(copies: Copies, job: CopyJob) -> None:
    path = copies.secrets.path(job.reader.secret)
    kept = path.read_text(encoding="utf-8")
    path.write_text("wrong-" + secrets.token_hex(8), encoding="utf-8")
    try:
        with pytest.raises(Unavailable) as failed:
            Stream().offer(job)
        assert path.read_text(encoding="utf-8") not in str(failed.value)
    finally:
        path.write_text(kept, encoding="utf-8")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(copies.live.dsn(user="copy_reader") + " password=x connect_timeout=3")


def test_the_key_is_in_no_statement(copies: Copies, job: CopyJob) -> None:
    """Looked at from the source's own side while the copy runs, and in every process's command line."""
    key = job.key.get_secret_value()
    seen: list[str] = []

    def look(_: Progress) -> None:
        with admin(copies.live) as connection:
            seen.extend(
                query
                for (query,) in connection.execute("SELECT query FROM pg_stat_activity WHERE query <> ''")
            )
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(line.read_bytes().decode(errors="replace"))
            except OSError:
                continue
        for line in Path("/proc").glob("[0-9]*/environ"):
            try:
                seen.append(line.read_bytes().decode(errors="replace"))
            except OSError:
                continue

    slow = replace(job, throttle=Throttle(bytes_per_s=6_000_000))
    Stream().copy(slow, look)
    assert any("COPY" in query for query in seen), "it looked while rows were copied"
    assert not [query for query in seen if key in query]


def test_a_copy_into_something_is_refused(copies: Copies, job: CopyJob) -> None:
    for left_over in ("TABLE t (id int)", "TYPE t AS ENUM ('a')", "SCHEMA s", "SEQUENCE s"):
        with admin(copies.trial, job.incoming) as connection:
            assert catalog.is_empty(connection)
            connection.execute(f"CREATE {left_over}")
            assert not catalog.is_empty(connection)
        with pytest.raises(StepFailed, match="not empty"):
            Stream().copy(job, unwatched)
        with admin(copies.trial, job.incoming) as connection:
            connection.execute("DROP " + " ".join(left_over.split()[:2]))
