"""A snapshot in files: for a server on which no copy beside the database can be made.

Invariant: a dump is complete exactly when its folder has its final name; it was read to its end before that.
It is put back by being built into a closed database beside the site's own, which is then renamed into place
like any other snapshot, so that a restore that fails half-way has changed nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from infra.postgres.dress import dress_statements, read_dress
from infra.postgres.incoming import close_to_others, create_like, drop_made
from infra.postgres.programs import demand, programs_for, run
from infra.postgres.session import client_environment, passfile
from infra.postgres.tag import Standing, Tag, tag_statement
from infra.secrets import SecretFiles
from policy.errors import NeedsHuman, StepFailed
from policy.machines import DatabaseServer
from policy.names import DatabaseName, RunId, snapshot_name

Admin = psycopg.Connection[Any]
JOBS = 2
_DATA_ENTRY = re.compile(r"^\d+; \d+ \d+ TABLE DATA ", re.MULTILINE)
_TABLES = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
  AND d.deptype = 'e')
"""


@dataclass(frozen=True, kw_only=True)
class Dump:
    """The dump of one database by one run.

    Attributes:
        folder: the run's folder, on a disk that every worker that may take the run over can read.
        login: of the databases' owner.
    """

    server: DatabaseServer
    database: DatabaseName
    secrets: SecretFiles
    folder: Path
    run: RunId

    @property
    def path(self) -> Path:
        """Where the complete dump lies."""
        return self.folder / "snapshots" / self.database

    def is_taken(self) -> bool:
        """Whether it is complete."""
        return (self.path / "freshet.json").is_file()

    @property
    def bytes(self) -> int:
        """What the files of the complete dump take."""
        return int(json.loads((self.path / "freshet.json").read_text(encoding="utf-8"))["bytes"])

    def take(self, admin: Admin, connection: Admin, *, at: datetime) -> int:
        """Write everything of the database into files, and read them once to their end.

        Args:
            admin: a session in another database of the server.
            connection: a session in the database itself.
            at: the present instant.

        Returns:
            The bytes of all files.

        Raises:
            StepFailed: the dump failed, or is not whole.
        """
        self.forget()
        making = self.path.with_name(f"{self.path.name}.making")
        making.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        encoding = connection.execute("SHOW server_encoding").fetchone()
        tables = connection.execute(_TABLES).fetchone()
        programs = programs_for(admin.info.server_version // 10_000)
        access = (self.server, self.server.owner)
        with passfile(access, secrets=self.secrets, scratch=self.folder) as secret:
            environment = client_environment(*access, database=self.database, passfile=secret, run=self.run)
            words = ("--format=directory", "--compress=1", f"--jobs={JOBS}", "--lock-wait-timeout=10s")
            ended = run(programs / "pg_dump", *words, f"--file={making}", environment=environment)
            demand(ended, f"dumping '{self.database}'")
        found = self.read(admin, making)
        if tables is None or found != int(tables[0]):
            raise StepFailed(
                f"database '{self.database}': its dump holds {found} tables of {tables and tables[0]}"
            )
        size = sum(path.stat().st_size for path in making.iterdir())
        told = {"database": self.database, "run": self.run, "at": at.isoformat(), "bytes": size}
        (making / "freshet.json").write_text(
            json.dumps({**told, "encoding": str(encoding[0]) if encoding else "UTF8"}), encoding="utf-8"
        )
        making.replace(self.path)
        return size

    def read(self, admin: Admin, folder: Path | None = None) -> int:
        """Read and unpack all of it once, so that a disk that lost a block is noticed; returns its tables.

        Args:
            admin: a session on the server, which knows the version of the programs.
            folder: where it lies; its final place unless given.

        Raises:
            StepFailed: it cannot be read to its end.
        """
        place = self.path if folder is None else folder
        restore = programs_for(admin.info.server_version // 10_000) / "pg_restore"
        surroundings = {"LC_ALL": "C", "PATH": os.defpath}
        demand(
            run(restore, "--file=/dev/null", str(place), environment=surroundings),
            f"reading the dump of '{self.database}'",
        )
        listed = run(restore, "--list", str(place), environment=surroundings)
        return len(_DATA_ENTRY.findall(demand(listed, "listing the dump").stdout))

    def build(self, admin: Admin, *, at: datetime) -> None:
        """Make the closed snapshot database from the files, ready to be renamed into place.

        Raises:
            NeedsHuman: it cannot be built; the site's own database was not touched.
        """
        name = snapshot_name(self.database, self.run)
        drop_made(admin, name, self.run)
        told = json.loads((self.path / "freshet.json").read_text(encoding="utf-8"))
        create_like(admin, self.database, name, encoding=str(told["encoding"]))
        close_to_others(admin, name)
        admin.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(Identifier(name)))
        programs = programs_for(admin.info.server_version // 10_000)
        access = (self.server, self.server.owner)
        # pg_dump's archive names the schema `public`, which every new database has.
        with passfile(access, secrets=self.secrets, scratch=self.folder) as secret:
            ended = run(
                programs / "pg_restore",
                "--exit-on-error",
                f"--jobs={JOBS}",
                f"--dbname={name}",
                str(self.path),
                environment=client_environment(*access, database=name, passfile=secret, run=self.run),
            )
        try:
            demand(ended, f"restoring the dump of '{self.database}'")
        except StepFailed as failed:
            raise NeedsHuman(f"{failed}; the dump is kept in {self.path}") from failed
        dress = read_dress(admin, self.database)
        tag = Tag(
            standing=Standing.SNAPSHOT, database=self.database, run=self.run, at=at, comment=dress.comment
        )
        with admin.transaction():
            admin.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(Identifier(name)))
            for statement in dress_statements(name, dress):
                admin.execute(statement)
            admin.execute(tag_statement(name, tag))

    def forget(self) -> bool:
        """Remove the files; whether there were any."""
        found = [
            path for path in (self.path, self.path.with_name(f"{self.path.name}.making")) if path.exists()
        ]
        for path in found:
            shutil.rmtree(path)
        return bool(found)
