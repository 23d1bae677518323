"""A base backup of the source, brought up where nobody but this process can reach it.

It speaks on a Unix socket in a folder of mode 700 and on no network, takes none of Production's settings (its
archive command would write into Production's archive), and starts none of its background work.

Invariant: while rows may still be unmasked, there is no way in but through that folder.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import psycopg

from infra.attended import Attended
from infra.postgres.methods import CopyJob
from infra.postgres.programs import demand, run
from infra.postgres.progress import Meter, Watch
from infra.postgres.session import application_name, client_environment, passfile
from infra.stack.cluster import Cluster, PostgresVersion
from infra.stack.unprivileged import hand_over
from policy.errors import Unavailable

PORT = 5432
"""Names the socket's file only; nothing listens on a network."""

_SOCKET_PATH_LIMIT = 100
_PREFIX = "freshet-private-"
_QUIET: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "archive_mode": "off",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "max_logical_replication_workers": "0",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    # Its files are flushed once, when they are finished; a crash before that means to begin anew.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_wal_size": "16GB",
    "shared_buffers": "256MB",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "logging_collector": "off",
}
_TICK_SECONDS = 0.5


class BaseBackup:
    """A private copy of the source's whole cluster.

    Args:
        job: the copy.
        data: where its data directory is to be; its parent exists.
        major: the source's major version.
        superuser: the name of the source's first superuser.
        prepared: how many prepared transactions the source allows, which its log may need.
    """

    def __init__(self, job: CopyJob, *, data: Path, major: int, superuser: str, prepared: int) -> None:
        self.job = job
        self.data = data
        self.superuser = superuser
        self.sockets = Path(tempfile.mkdtemp(prefix=_PREFIX))
        if len(str(self.sockets)) > _SOCKET_PATH_LIMIT:
            raise Unavailable("the folder for temporary files has too long a name for a socket; set TMPDIR")
        self.cluster = Cluster(
            data=data,
            port=PORT,
            version=PostgresVersion(major),
            settings={
                **_QUIET,
                "unix_socket_directories": str(self.sockets),
                "hba_file": str(data / "freshet_hba.conf"),
                "ident_file": str(data / "pg_ident.conf"),
                "max_prepared_transactions": str(prepared),
            },
        )

    def clear(self) -> None:
        """Remove what a killed attempt left at the same place, its running server included."""
        try:
            sockets = Path((self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[4])
        except (OSError, IndexError):
            sockets = self.sockets
        if self.cluster.running():
            self.cluster.stop(fast=False)
        if sockets.name.startswith(_PREFIX) and sockets != self.sockets:
            shutil.rmtree(sockets, ignore_errors=True)
        if self.data.exists():
            shutil.rmtree(self.data)

    def take(self, programs: Path, meter: Meter, watch: Watch) -> None:
        """Bring the source's files here.

        Raises:
            StepFailed: pg_basebackup failed.
            Unavailable: a secret cannot be read.
        """
        job = self.job
        self.data.mkdir(mode=0o700)
        limit = job.throttle.bytes_per_s
        rate = [f"--max-rate={max(limit // 1024, 32)}"] if limit else []
        stop = threading.Event()
        arrived = 0

        def look() -> None:
            nonlocal arrived
            now = _size(self.data)
            meter.passed(max(now - arrived, 0))
            arrived = max(now, arrived)
            watch(meter.look())

        with passfile((job.source, job.reader), secrets=job.secrets, scratch=job.scratch) as secret:
            environment = client_environment(
                job.source, job.reader, database=job.source_database, passfile=secret, run=job.run
            )

            def bring() -> None:
                ended = run(
                    programs / "pg_basebackup",
                    *("--checkpoint=fast", "--no-sync", "--no-manifest", *rate, f"--pgdata={self.data}"),
                    environment=environment,
                    stop=stop,
                )
                demand(ended, "taking a base backup of the source")

            Attended(bring, end=stop.set, name="base-backup").wait(look, every_s=_TICK_SECONDS)

    def start(self) -> None:
        """Bring it up, alone.

        Raises:
            Unavailable: it did not come up.
        """
        for name in ("postgresql.auto.conf", "pg_ident.conf"):
            (self.data / name).write_text("", encoding="utf-8")
        for name in ("standby.signal", "recovery.signal", "log", "pg_log"):
            path = self.data / name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
        (self.data / "postgresql.conf").write_text("include 'freshet.conf'\n", encoding="utf-8")
        (self.data / "freshet_hba.conf").write_text("local all all trust\n", encoding="utf-8")
        hand_over(self.sockets)
        self.cluster.start()

    def session(self, database: str, *, autocommit: bool = True) -> psycopg.Connection:
        """A superuser's session."""
        return psycopg.connect(
            host=str(self.sockets), port=PORT, dbname=database, user=self.superuser, autocommit=autocommit,
            application_name=application_name(self.job.run), client_encoding="UTF8",
        )  # fmt: skip

    def stop(self) -> None:
        """Stop it cleanly, and remove what a server leaves that could quote a row."""
        self.cluster.stop()
        self.cluster.log.unlink(missing_ok=True)
        for kept in (self.data / "pg_stat").glob("*"):
            kept.unlink()

    def close(self, *, keep: bool) -> None:
        """End it in any case; without `keep`, nothing of it is left."""
        if self.cluster.running():
            self.cluster.stop(fast=False)
        self.cluster.log.unlink(missing_ok=True)
        shutil.rmtree(self.sockets, ignore_errors=True)
        if not keep and self.data.exists():
            shutil.rmtree(self.data)


def _size(folder: Path) -> int:
    """Bytes under `folder`, while it changes."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total
