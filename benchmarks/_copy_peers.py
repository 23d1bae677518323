"""What others do for the same copy, on the same servers, as the same roles; each returns its seconds."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks._copy_ground import OWNER, READER
from infra.postgres.methods import CopyJob
from infra.postgres.session import client_environment, passfile
from infra.stack.cluster import PostgresVersion, bin_dir

BIN = bin_dir(PostgresVersion.V18)
Peer = Callable[[CopyJob], float]


@contextmanager
def _environments(job: CopyJob) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The surroundings of programs that read the source, and of those that write the copy."""
    access = ((job.source, READER), (job.target, OWNER))
    with passfile(*access, secrets=job.secrets, scratch=job.scratch) as secret:
        reading = client_environment(
            job.source, READER, database=job.source_database, passfile=secret, run=job.run
        )
        writing = client_environment(job.target, OWNER, database=job.incoming, passfile=secret, run=job.run)
        yield reading, writing


def directory(job: CopyJob) -> float:
    """`pg_dump -Fd -Z0 -j2`, then `pg_restore -j2`: the fastest of PostgreSQL's own ways."""
    place = job.scratch / "dump"
    dump = [str(BIN / "pg_dump"), "-Fd", "-Z0", "-j2", "-f", str(place)]
    restore = [str(BIN / "pg_restore"), "-j2", "--no-owner", "-d", job.incoming, str(place)]
    with _environments(job) as (reading, writing):
        try:
            began = time.monotonic()
            subprocess.run(dump, env=reading, check=True)
            subprocess.run(restore, env=writing, check=True)
            return time.monotonic() - began
        finally:
            shutil.rmtree(place, ignore_errors=True)


def custom(job: CopyJob) -> float:
    """`pg_dump -Fc` piped into `pg_restore`, as most people do it."""
    dump = [str(BIN / "pg_dump"), "-Fc"]
    restore = [str(BIN / "pg_restore"), "--no-owner", "-d", job.incoming]
    with _environments(job) as (reading, writing):
        began = time.monotonic()
        with subprocess.Popen(dump, env=reading, stdout=subprocess.PIPE) as giving:
            subprocess.run(restore, env=writing, check=True, stdin=giving.stdout)
        return time.monotonic() - began


def pgcopydb(job: CopyJob) -> float:
    """`pgcopydb clone` with two table jobs and two index jobs; it makes statistics too."""
    program = shutil.which("pgcopydb")
    assert program is not None
    where = "host=127.0.0.1 port={} user={} dbname={}"
    words = [
        *(program, "clone", "--table-jobs=2", "--index-jobs=2", "--no-owner", "--no-acl"),
        *(f"--dir={job.scratch / 'pgcopydb'}", "--restart", "--not-consistent"),
        *("--source", where.format(job.source.port, READER.user, job.source_database)),
        *("--target", where.format(job.target.port, OWNER.user, job.incoming)),
    ]
    with _environments(job) as (reading, _):
        environment = {name: value for name, value in reading.items() if not name.startswith("PG")}
        environment |= {"PGPASSFILE": reading["PGPASSFILE"], "PATH": f"{BIN}:{reading['PATH']}"}
        began = time.monotonic()
        subprocess.run(words, env=environment, check=True, capture_output=True)
        took = time.monotonic() - began
    shutil.rmtree(job.scratch / "pgcopydb", ignore_errors=True)
    return took


def analyze(job: CopyJob) -> float:
    """Statistics, which a copy needs before it serves and which dump and restore do not make."""
    words = [str(BIN / "vacuumdb"), "--analyze-only", "--schema=public", "-j2", "-q", job.incoming]
    with _environments(job) as (_, writing):
        began = time.monotonic()
        subprocess.run(words, env=writing, check=True)
        return time.monotonic() - began
